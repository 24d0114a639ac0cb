"""How a setting's text is read. Each reader raises ValueError with words that follow ``'the text' ``."""

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

Network = IPv4Network | IPv6Network


class Address(NamedTuple):
    """Where to listen or to connect."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Inherited(NamedTuple):
    """A listening socket that the parent opened, by its descriptor."""

    fd: int

    def __str__(self) -> str:
        return f"fd:{self.fd}"


Listen = Address | Inherited


def text(value: str) -> str:
    return value


def optional(value: str) -> str | None:
    return value or None


def names(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def choice(*allowed: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"is not one of {', '.join(allowed)}")
        return value

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError("is not a whole number") from None
        if not low <= number <= high:
            raise ValueError(f"is not between {low} and {high}")
        return number

    return read


def seconds(low: float, high: float) -> Callable[[str], float]:
    def read(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            raise ValueError("is not a number of seconds") from None
        if not low <= number <= high:
            raise ValueError(f"is not between {low:g} and {high:g} seconds")
        return number

    return read


def factor(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError("is not a number") from None
    if not 0 <= number <= 1_000_000:
        raise ValueError("is not between 0 and 1,000,000")
    return number


def networks(value: str) -> tuple[Network, ...]:
    found: list[Network] = []
    for part in names(value):
        try:
            found.append(ip_network(part))
        except ValueError as error:
            raise ValueError(f"is not a comma-separated list of networks such as 10.0.0.0/8 ({error})") from None
    return tuple(found)


def address(value: str) -> Address:
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) < 65536):
        raise ValueError("is not HOST:PORT")
    return Address(host, int(port))


def listen(value: str) -> Listen:
    kind, _, number = value.partition(":")
    if kind == "fd" and number.isascii() and number.isdecimal():
        return Inherited(int(number))
    return address(value)


def listen_or_off(value: str) -> Listen | None:
    return listen(value) if value else None


def port_range(value: str) -> range:
    low, dash, high = value.partition("-")
    if not (dash and low.isdecimal() and high.isdecimal() and 0 < int(low) <= int(high) < 65536):
        raise ValueError("is not a range of ports such as 20000-20999")
    return range(int(low), int(high) + 1)
