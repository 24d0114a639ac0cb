"""The network policy and our own hub: by which names and addresses it is known, and what is not the hub."""

import asyncio
import ipaddress

import pytest

from penstock.errors import AddressRefused
from penstock.net import Policy, Unreachable
from tests.parts import own_address
from tests.unit.test_net import networks

NAMES = ["localhost", "hub.penstock", "Live.Example"]
HUB = Policy(hub_names=NAMES, hub=("127.0.0.1", 41935), hub_http=("127.0.0.1", 41936))


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("hub.penstock", None),
        ("HUB.Penstock", None),
        ("hub.penstock.", None),
        ("live.example", 41935),
        ("localhost", None),
        ("localhost", 41935),
        ("127.0.0.1", 41935),
        ("::1", 41935),
        ("127.1", 41935),
        ("2130706433", 41935),
        ("::ffff:127.0.0.1", 41935),
        ("0.0.0.0", 41935),
    ],
)
async def test_the_hub_is_reached_by_its_names_and_by_its_address(host: str, port: int | None) -> None:
    """Although it is on loopback."""
    assert HUB.is_hub(host, port)
    assert await HUB.resolve(host, port) == [("127.0.0.1", 41935)]
    await HUB.check(host, port)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("127.0.0.1", 41936),
        ("127.0.0.1", 41937),
        ("127.0.0.1", None),
        ("localhost", 22),
        ("::1", 22),
        ("127.0.0.2", 41935),
    ],
)
async def test_nothing_else_on_loopback_is_the_hub(host: str, port: int | None) -> None:
    """Another port is another server."""
    assert not HUB.is_hub(host, port)
    with pytest.raises((AddressRefused, Unreachable)):
        await HUB.resolve(host, port)


async def test_the_hub_is_reached_over_http_too() -> None:
    """At its own port for that, and at no other."""
    await HUB.check("localhost", 41936)
    assert await HUB.resolve("localhost", 41936, "http") == [("127.0.0.1", 41936)]
    assert await HUB.resolve("hub.penstock", None, "http") == [("127.0.0.1", 41936)]
    for port, scheme in ((41935, "http"), (80, "http"), (8080, "http"), (41936, "https"), (41936, "rtsp")):
        with pytest.raises(AddressRefused):
            await HUB.resolve("localhost", port, scheme)


async def test_a_hub_on_rtmps_own_port_is_meant_without_a_port() -> None:
    """rtmp://127.0.0.1/live/x."""
    policy = Policy(hub=("127.0.0.1", 1935))
    assert await policy.resolve("127.0.0.1", None) == [("127.0.0.1", 1935)]
    assert not policy.is_hub("hub.penstock", None)


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
@pytest.mark.parametrize("host", ["127.0.0.2", "127.255.255.254", "127.2", "0x7f000003", "::ffff:127.9.9.9", "0"])
async def test_a_hub_that_listens_everywhere_is_all_of_loopback(everywhere: str, host: str) -> None:
    """Else a task could publish there as if it were an encoder on this machine, under whose name it likes."""
    policy = Policy(networks("127.0.0.0/8"), hub=(everywhere, 41935))
    assert policy.is_hub(host, 41935)
    assert await policy.resolve(host, 41935) == [(everywhere, 41935)]
    assert not policy.is_hub(host, 41936)
    assert not policy.is_hub("192.0.2.1", 41935)


@pytest.mark.parametrize("other", ["203.0.113.1", "2001:db8::1"])
@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
async def test_a_hub_that_listens_everywhere_is_this_machines_own_addresses(everywhere: str, other: str) -> None:
    """Over RTMP and HTTP; the machines beside it are others, and so is what listens at another port."""
    own = ipaddress.ip_address(own_address(other))
    policy = Policy(hub=(everywhere, 41935), hub_http=(everywhere, 41936))
    for host in (str(own), f"::ffff:{own}", str(int(own))) if own.version == 4 else (str(own), own.exploded):
        assert await policy.resolve(host, 41935) == [(everywhere, 41935)]
        assert await policy.resolve(host, 41936, "http") == [(everywhere, 41936)]
        assert not policy.is_hub(host, 41937)
    for host in (str(own + 1), str(own - 1), other, "224.0.0.1", "255.255.255.255", "fe80::1"):
        assert not policy.is_hub(host, 41935)
    assert not Policy(hub=("127.0.0.1", 41935)).is_hub(str(own), 41935)


async def test_a_name_that_leads_to_the_hub_is_refused_unless_it_is_one_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whose streams a name means is known of the hub's own names alone."""
    policy = Policy(networks("127.0.0.0/8"), hub=("127.0.0.1", 41935))

    async def lookup(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(None, None, None, None, ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
    with pytest.raises(AddressRefused, match="leads to this hub"):
        await policy.resolve("tricky.example", 41935)
    assert await policy.resolve("tricky.example", 41936) == [("127.0.0.1", 41936)]


async def test_without_a_hub_nothing_is_the_hub() -> None:
    """A worker alone."""
    assert not Policy(hub_names=["localhost"]).is_hub("localhost", None)
