"""The network policy: which addresses a caller's URL may reach, and that nothing but a checked one is connected to."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from penstock.errors import AddressRefused
from penstock.net import NOT_PUBLIC, Policy, Unreachable, dial, is_public

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2400:cb00::1",
    "172.15.255.255",
    "172.32.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "223.255.255.255",
]
REFUSED = {
    "127.0.0.1": "loopback",
    "127.8.9.10": "loopback",
    "::1": "loopback",
    "10.1.2.3": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "fd00::1": "private",
    "169.254.169.254": "the cloud's metadata service",
    "fe80::1": "link-local",
    "fe80::1%lo": "link-local with a zone",
    "fec0::1": "site-local",
    "100.64.0.1": "carrier-grade NAT",
    "224.0.0.1": "multicast",
    "239.1.2.3": "multicast",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
    "0.0.0.0": "this host",
    "0.1.2.3": "this network",
    "::": "this host",
    "255.255.255.255": "broadcast",
    "240.0.0.1": "reserved",
    "192.0.2.1": "documentation",
    "198.18.0.1": "benchmarks",
    "::ffff:127.0.0.1": "loopback inside IPv6",
    "::ffff:169.254.169.254": "metadata inside IPv6",
    "::127.0.0.1": "loopback in the oldest form",
    "64:ff9b::a9fe:a9fe": "metadata through NAT64",
    "64:ff9b::7f00:1": "loopback through NAT64",
    "64:ff9b:1::808:808": "NAT64 of a network of one's own",
    "2002:7f00:1::1": "loopback through 6to4",
    "2002:a00:1::1": "private through 6to4",
    "2002:808:808::1": "6to4",
    "2001:0:808:808::f7f7:f7f7": "Teredo",
    "2001:0:4136:e378:8000:63bf:80ff:fffe": "loopback through Teredo",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "100::1": "discarded",
    "5f00::1": "segment routing",
    "::ffff:0:7f00:1": "loopback, translated",
    "fd00:ec2::254": "a cloud's metadata service",
    "168.63.129.16": "a cloud's metadata service",
    "100.100.100.200": "a cloud's metadata service",
    "192.0.0.192": "a cloud's metadata service",
    "192.88.99.1": "6to4 relays",
    "203.0.113.9": "documentation",
}
#: Ways to write 127.0.0.1 that resolvers understand, or might.
DISGUISES = [
    *("127.1", "127.0.1", "2130706433", "0x7f.1", "0x7f000001", "0X7F.0.0.0x1", "0177.0.0.1", "017700000001", "0"),
    *(
        "127.0.0.1.",
        "localhost.",
        "LOCALHOST",
        "127.000.000.001",
        "00000177.1",
        "①②⑦.⓪.⓪.①",
        "\uff11\uff12\uff17.0.0.1",
        "\uff4cocalhost",
    ),
    *("127。0。0。1", "0.0.0.0", "[::1]", "::1%1", "ip6-localhost", "4294967296", "127.0.0.1\0.example"),
]


@given(st.integers(0, 2**32 - 1))
def test_ipv4_is_public_where_the_registry_says_so(number: int) -> None:
    """By the standard library's own copy of it, but for what versions of it disagree about."""
    address = ipaddress.IPv4Address(number)
    disputed = ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")
    assume(not any(address in ipaddress.ip_network(network) for network in disputed))
    assert is_public(address) == (address.is_global and not address.is_multicast)


@given(st.sampled_from(NOT_PUBLIC), st.integers(0, 2**128 - 1))
def test_every_address_of_a_network_that_is_not_public_is_refused_however_it_is_carried(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network, number: int
) -> None:
    """The first, the last, any; and what lies inside is permitted by the setting, carried or not."""
    first, last = int(network[0]), int(network[-1])
    for at in {first, last, first + number % (last - first + 1)}:
        address = network[0] + (at - first)
        carried = [address]
        if isinstance(address, ipaddress.IPv4Address):
            carried += [
                ipaddress.IPv6Address(int(ipaddress.IPv6Address(head)) + at) for head in ("::ffff:0:0", "64:ff9b::")
            ]
        for form in carried:
            assert "network.allow" in Policy().refusal(form)
            assert Policy([network]).refusal(form) == ""


@given(st.integers(0, 2**128 - 1))
def test_ipv6_outside_global_unicast_is_never_public(number: int) -> None:
    """Whatever it will mean one day."""
    address = ipaddress.IPv6Address(number)
    if number >> 125 != 1:
        assert not is_public(address)
    else:
        assert not is_public(address) or address.is_global


@given(st.integers(0x7F000000, 0x7FFFFFFF), st.sampled_from(["{}", "{:#x}", "0{:o}"]), st.integers(1, 4), st.data())
async def test_every_spelling_of_loopback_is_refused(
    number: int, spelling: str, parts: int, data: st.DataObject
) -> None:
    """One to four numbers, each decimal, hexadecimal or octal (inet_aton); the resolver is the system's own."""
    whole = [number >> shift & 0xFF for shift in (24, 16, 8)[: parts - 1]] + [number & (1 << 8 * (5 - parts)) - 1]
    written = ".".join(data.draw(st.sampled_from(["{}", "{:#x}", "0{:o}", spelling])).format(part) for part in whole)
    with pytest.raises(AddressRefused):
        await Policy().resolve(written, 80)


@given(st.text(max_size=80), st.one_of(st.none(), st.integers(-1, 2**70)))
@settings(max_examples=50)
async def test_no_text_as_a_host_raises_anything_else(host: str, port: int | None) -> None:
    """A redirect may name anything."""
    assume("." not in host.strip("."))  # asks no server of names
    with suppress(AddressRefused, Unreachable):
        await Policy().resolve(host, port)


@pytest.mark.parametrize("url", ["http://[::1", "http://h:99999/", "http://h:x/", "http://[]/", "http:///x", "", "//"])
async def test_url_that_cannot_be_understood_is_not_connected_to(url: str) -> None:
    with pytest.raises((Unreachable, AddressRefused)):
        await Policy().connect(url)


def networks(*names: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """As the setting gives them."""
    return [ipaddress.ip_network(name) for name in names]


@pytest.mark.parametrize("address", PUBLIC)
async def test_a_public_address_may_be_reached(address: str) -> None:
    """In IPv4, IPv6, and IPv4 inside IPv6."""
    policy = Policy()
    assert await policy.resolve(address, 1935) == [(address, 1935)] or ":" in address
    await policy.check(address, None)


@pytest.mark.parametrize("address", REFUSED)
async def test_any_other_address_is_refused_and_the_setting_is_named(address: str) -> None:
    """Loopback, private, link-local, shared, multicast, reserved; however they are wrapped."""
    policy = Policy()
    with pytest.raises(AddressRefused, match=r"is not public; the setting network\.allow can permit it"):
        await policy.resolve(address, 1935)
    with pytest.raises(AddressRefused):
        await policy.check(address, None)


@pytest.mark.parametrize("host", [*DISGUISES, "localhost"])
async def test_a_disguised_loopback_is_refused(host: str) -> None:
    """What counts is the address that comes out of the resolver."""
    with pytest.raises((AddressRefused, Unreachable)):
        await Policy().resolve(host, 1935)


@pytest.mark.parametrize(
    ("allow", "address"),
    [
        ("10.0.0.0/8", "10.1.2.3"),
        ("127.0.0.0/8", "127.0.0.1"),
        ("127.0.0.0/8", "::ffff:127.0.0.1"),
        ("127.0.0.0/8", "64:ff9b::7f00:1"),
        ("::1/128", "::1"),
        ("fd00::/8", "fd12::1"),
        ("169.254.169.254/32", "169.254.169.254"),
    ],
)
async def test_the_setting_lets_through_what_it_names(allow: str, address: str) -> None:
    """And nothing beside it."""
    policy = Policy(networks("192.168.7.0/24", allow))
    await policy.check(address, 1935)
    for other in ("10.99.0.1" if "10." not in allow else "172.16.0.1", "192.168.8.1", "fe80::1"):
        with pytest.raises(AddressRefused):
            await policy.check(other, 1935)


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: Sequence[str]) -> None:
    """Have names resolve to these addresses, one answer after the other; the last stays."""
    left = list(answers)

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        addresses = left.pop(0) if len(left) > 1 else left[0]
        if not addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_a_name_with_one_refused_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next connection might take that one."""
    resolving(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
        await Policy().resolve("both.example", None)


async def test_all_addresses_of_a_name_are_given_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the scheme's own port where none is given."""
    resolving(monkeypatch, ["8.8.8.8", "2606:4700::1"])
    assert await Policy().resolve("x.example", None, "rtmps") == [("8.8.8.8", 443), ("2606:4700::1", 443)]
    assert await Policy().resolve("x.example", 81, "rtmps") == [("8.8.8.8", 81), ("2606:4700::1", 81)]


async def test_a_name_that_does_not_resolve_passes_the_check_and_not_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may exist when it is needed."""
    resolving(monkeypatch, [])
    policy = Policy()
    await policy.check("nowhere.example", 1935)
    with pytest.raises(Unreachable, match=r"cannot resolve nowhere\.example"):
        await policy.resolve("nowhere.example", 1935)


@pytest.mark.parametrize("host", ["", "a" * 300, "a..b", "\ud800", "x y", "[", "%00"])
async def test_what_is_no_name_cannot_be_resolved(host: str) -> None:
    """And raises nothing else."""
    with pytest.raises((Unreachable, AddressRefused)):
        await Policy().resolve(host, 1935)


async def test_a_name_that_changes_after_the_check_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to an address that was checked in the same breath."""
    dialled: list[tuple[str, int]] = []

    async def remember(addresses: Sequence[tuple[str, int]]) -> socket.socket:
        dialled.extend(addresses)
        raise Unreachable

    policy = Policy(dial=remember)
    resolving(monkeypatch, ["8.8.8.8"], ["8.8.4.4"], ["127.0.0.1"])
    await policy.check("rebind.example", 1935)
    with pytest.raises(Unreachable):
        await policy.connect("rtmp://rebind.example/live/x")
    with pytest.raises(AddressRefused):
        await policy.connect("rtmp://rebind.example/live/x")
    assert dialled == [("8.8.4.4", 1935)]


# -- connecting

LOOPBACK = Policy(networks("127.0.0.0/8"))


async def test_a_connection_is_ready_for_the_loop() -> None:
    """Not blocking, without Nagle's delay, and given up by the kernel when the peer is gone."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        with closing(await LOOPBACK.connect(f"rtmp://127.0.0.1:{port}/live/x")) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)
            assert not sock.getblocking()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_a_refused_connection_says_so() -> None:
    """In the system's words."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unreachable, match=r"^connection refused$"):
        await LOOPBACK.connect(f"rtmp://127.0.0.1:{port}/live/x")


def deaf(resources: ExitStack) -> tuple[str, int]:
    """The address of a server that answers nobody: its queue is full."""
    server = resources.enter_context(closing(socket.socket()))
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    address: tuple[str, int] = server.getsockname()
    for _ in range(2):
        client = resources.enter_context(closing(socket.socket()))
        client.setblocking(False)
        client.connect_ex(address)
    return address


@pytest.mark.looptime
async def test_a_host_that_does_not_answer_is_given_up() -> None:
    """After the patience, all its addresses together."""
    with ExitStack() as resources:
        _, port = deaf(resources)
        begun = asyncio.get_running_loop().time()
        with pytest.raises(Unreachable, match="no connection within 10 s"):
            await LOOPBACK.connect(f"rtmp://127.0.0.1:{port}/live/x")
        assert asyncio.get_running_loop().time() - begun == pytest.approx(10, abs=0.2)


@pytest.mark.looptime
async def test_an_address_that_does_not_answer_does_not_keep_us_from_the_next() -> None:
    """A host whose IPv6 leads nowhere."""
    with ExitStack() as resources:
        server = resources.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        begun = asyncio.get_running_loop().time()
        with closing(await dial([deaf(resources), server.getsockname()])) as sock:
            assert sock.getpeername() == server.getsockname()
        assert asyncio.get_running_loop().time() - begun == pytest.approx(3, abs=0.2)


async def test_a_refused_address_is_followed_by_the_next() -> None:
    """The first that answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        with closing(socket.create_server(("127.0.0.1", 0))) as gone:
            address = gone.getsockname()
        with closing(await dial([address, server.getsockname()])) as sock:
            assert sock.getpeername() == server.getsockname()
    with pytest.raises(Unreachable, match="no address"):
        await dial([])
