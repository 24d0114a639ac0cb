"""The network policy: the only door to an address that a caller named.

A host is resolved, every address is checked, and the connection goes to the checked address, so that a name which
resolves differently a moment later gains nothing.
"""

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from penstock.errors import AddressRefused, MediaError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_DEFAULT_PORTS = {"rtmp": 1935, "rtmps": 443, "http": 80, "https": 443, "rtsp": 554}
#: Seconds without an acknowledgement after which the kernel gives a connection up (a half-open peer).
_USER_TIMEOUT = 10
#: Seconds for an address of a host that has another one to try.
_NEXT_ADDRESS = 3.0
#: The file of trusted authorities in Debian and Alpine, Fedora, SUSE.
_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")
#: A port for sockets that send nothing (RFC 863).
_DISCARD = 9
#: Seconds for the resolver when an address is only asked about.
_CHECK = 3.0
#: IPv6 addresses that mean the IPv4 address in their last 32 bits: mapped (RFC 4291), and NAT64's (RFC 6052).
_CARRIERS = tuple(map(ipaddress.IPv6Network, ("::ffff:0:0/96", "64:ff9b::/96")))
#: What a socket listens at for all addresses; whoever connects to it reaches this machine.
_EVERYWHERE = (ipaddress.IPv4Address(0), ipaddress.IPv6Address(0))
_OURSELVES = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"), *_EVERYWHERE)
#: All global unicast there is in IPv6 (RFC 4291, section 2.4).
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
#: What is not public: IANA's special-purpose address registries (RFC 6890), multicast, and clouds' own services.
#: A table of ours, because the answers of `ipaddress` differ between versions of Python.
NOT_PUBLIC: tuple[IPNetwork, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT; Alibaba Cloud's metadata service
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's metadata service
            "169.254.0.0/16",  # link-local; the other clouds' metadata services
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
            "2001::/23",  # protocol assignments, Teredo
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation
        ),
    )
)


class Unreachable(MediaError):
    """The address cannot be reached."""


async def dial(addresses: Sequence[tuple[str, int]]) -> socket.socket:
    """Return a non-blocking TCP socket connected to the first (address, port) that answers. Raise `Unreachable`."""
    loop = asyncio.get_running_loop()
    reason = "no address"
    last = len(addresses) - 1
    for at, (address, port) in enumerate(addresses):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            prepare(sock)
            async with asyncio.timeout(None if at == last else _NEXT_ADDRESS):
                await loop.sock_connect(sock, (address, port))
        except OSError as error:
            sock.close()
            # asyncio puts its own words into strerror; its time-out has no number.
            reason = os.strerror(error.errno).lower() if error.errno else f"no connection within {_NEXT_ADDRESS:g} s"
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise Unreachable(reason)


async def lookup(host: str, port: int) -> list[tuple[str, int]]:
    """Return the (address, port) pairs of a host, in the resolver's order. Raise `Unreachable` if it has none."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError, OverflowError) as error:
        raise Unreachable(f"cannot resolve {host}") from error
    return [(str(address[0]), port) for _, _, _, _, address in found]


class Door(Protocol):
    """The way to the host of a URL."""

    async def connect(self, url: str, *, patience: float = 10) -> socket.socket:
        """Return a non-blocking TCP socket connected to it. Raise `AddressRefused` or `Unreachable`."""
        ...

    def is_hub(self, host: str, port: int | None, scheme: str = "rtmp") -> bool:
        """Whether this means our own hub."""
        ...

    def tls(self, host: str) -> ssl.SSLContext:
        """With what a connection to this host is secured."""
        ...


class Policy:
    """Which addresses a caller's URLs may reach: public ones, `allow`, and this server's own hub.

    `hub_names` are the names under which callers mean the hub; `hub` and `hub_http` are where it listens
    for RTMP and for HTTP. The certificates of
    `insecure_hosts` are not verified. `dial` connects.
    """

    def __init__(
        self,
        allow: Sequence[IPNetwork] = (),
        *,
        hub_names: Collection[str] = (),
        hub: tuple[str, int] | None = None,
        hub_http: tuple[str, int] | None = None,
        insecure_hosts: Collection[str] = (),
        dial: Callable[[Sequence[tuple[str, int]]], Awaitable[socket.socket]] = dial,
    ) -> None:
        self._allow = tuple(allow)
        self._hub_names = frozenset(name.lower() for name in hub_names)
        self._hubs = {scheme: where for scheme, where in (("rtmp", hub), ("http", hub_http)) if where}
        #: Hosts, in lower case, whose certificates are not verified.
        self.insecure_hosts = frozenset(name.lower() for name in insecure_hosts)
        self._dial = dial

    def refusal(self, address: IPAddress) -> str:
        """Say why an address may not be reached; empty if it may."""
        meant = _meant(address)
        if is_public(meant) or any(each in network for each in (address, meant) for network in self._allow):
            return ""
        return f"address {address} is not public; the setting network.allow can permit it"

    async def check(self, host: str, port: int | None) -> None:
        """Raise `AddressRefused` if the host is or resolves to a refused address. A name that does not resolve within
        3 s passes: it may when it is needed."""
        if any(self._hub_at(host, port, scheme) for scheme in self._hubs):
            return
        with suppress(Unreachable, TimeoutError):
            async with asyncio.timeout(_CHECK):
                await self.resolve(host, port)

    async def resolve(self, host: str, port: int | None, scheme: str = "rtmp") -> list[tuple[str, int]]:
        """Return the checked (address, port) pairs of a host, in the resolver's order.

        Raise `AddressRefused` if any of its addresses is refused, `Unreachable` if it has none.
        """
        if hub := self._hub_at(host, port, scheme):
            return [hub]
        found = await lookup(host, port if port is not None else _DEFAULT_PORTS.get(scheme, 0))
        for address, number in found:
            if self.is_hub(address, number):
                raise AddressRefused(f"{host} leads to this hub, whose names are in the setting hub.domains")
            if reason := self.refusal(ipaddress.ip_address(address.split("%")[0])):
                raise AddressRefused(reason)
        return found

    def is_hub(self, host: str, port: int | None, scheme: str = "rtmp") -> bool:
        """Whether this means our own hub, over RTMP or HTTP; without a port its own is meant."""
        return self._hub_at(host, port, scheme) is not None

    def _hub_at(self, host: str, port: int | None, scheme: str) -> tuple[str, int] | None:
        """Where our hub listens, if that is meant."""
        where = self._hubs.get(scheme)
        if where is None:
            return None
        host = host.lower().removesuffix(".")
        if where[1] == (_DEFAULT_PORTS[scheme] if port is None else port):
            meant = host in {where[0], "localhost", *self._hub_names} or _hears(where[0], host)
        else:
            meant = port is None and host in self._hub_names
        return where if meant else None

    async def connect(self, url: str, *, patience: float = 10) -> socket.socket:
        """Return a non-blocking TCP socket connected to the URL's host, at a checked address.

        Raise `AddressRefused` or `Unreachable`; `patience` in seconds bounds all addresses together.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise Unreachable("its host or port cannot be understood") from None
        return await self._connect(self.resolve(host, port, parts.scheme), patience)

    async def connect_unchecked(self, host: str, port: int, *, patience: float = 10) -> socket.socket:
        """As `connect`, to an address that is the operator's own choice. Raise `Unreachable`."""
        return await self._connect(lookup(host, port), patience)

    async def _connect(self, addresses: Awaitable[list[tuple[str, int]]], patience: float) -> socket.socket:
        try:
            async with asyncio.timeout(patience):
                return await self._dial(await addresses)
        except TimeoutError:
            raise Unreachable(f"no connection within {patience:g} s") from None

    def tls(self, host: str) -> ssl.SSLContext:
        """What TLS with this host is to be like: its certificate verified, unless the host is an insecure one."""
        return _unverified() if host.lower().removesuffix(".") in self.insecure_hosts else _verified()


@cache
def _verified() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authorities() or None)


@cache
def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _hears(listens: str, host: str) -> bool:
    """Whether this is an address of our own machine at which the hub listens, however it is spelled."""
    address = _literal(host)
    if address is None:
        return False
    if address in _OURSELVES:
        return True
    return _literal(listens) in _EVERYWHERE and (address.is_loopback or _is_ours(address))


def _is_ours(address: IPAddress) -> bool:
    """Whether an interface of this machine has an address: from there the kernel would answer it. Nothing is sent."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), _DISCARD))
            found: str = probe.getsockname()[0]
    except OSError:
        return False
    return ipaddress.ip_address(found.partition("%")[0]) == address


def is_public(address: IPAddress) -> bool:
    """Whether an address belongs to the public internet."""
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return not any(address in network for network in NOT_PUBLIC)


def _literal(host: str) -> IPAddress | None:
    """Return the address that a host spells out, also as ``127.1``, ``0x7f000001`` and ``::ffff:127.0.0.1``."""
    try:
        return _meant(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _meant(address: IPAddress) -> IPAddress:
    """Return the address that is reached in the end."""
    if any(address in network for network in _CARRIERS):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def authorities() -> str:
    """Return the file (PEM) of the certificate authorities that this machine trusts; empty: none is found.

    SSL_CERT_FILE names it, or it lies where OpenSSL or a distribution puts it.
    """
    named = os.environ.get("SSL_CERT_FILE", "")
    known = [named] if named else [ssl.get_default_verify_paths().openssl_cafile, *_AUTHORITIES]
    return next((path for path in known if Path(path).is_file()), "")


def prepare(sock: socket.socket) -> None:
    """Set the options that every media socket has: no Nagle delay, half-open peers found within 10 s."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT * 1000)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _USER_TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
