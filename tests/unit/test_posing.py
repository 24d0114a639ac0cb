"""TLS ended by the proxy for hosts whose certificates are not to be verified. A child is played by the test."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from penstock.media import posing as posing_module
from penstock.media.posing import Posing
from penstock.media.proxy import HttpProxy
from penstock.net import Policy
from tests.http_peer import HERE, Answer, Server
from tests.tls_front import TlsFront
from tests.unit.test_http_children import proof

#: Large enough to need many records, and to fill what lies between.
BODY = bytes(range(256)) * 20_000


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[TlsFront]:
    """A server of one page at 127.0.0.1, with a certificate of a private authority."""
    async with Server() as server:
        server.pages["/page"] = Answer(BODY)
        with TlsFront(tmp_path, server.port, HERE) as running:
            yield running


def policy(*insecure: str) -> Policy:
    """May reach loopback."""
    return Policy([ipaddress.ip_network("127.0.0.0/8")], insecure_hosts=insecure)


async def fetch(proxy: HttpProxy, port: int, trusted: str, host: str = "127.0.0.1") -> bytes:
    """What a child gets of the page through the proxy, if it trusts these authorities."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\n{proof(proxy)}\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await writer.start_tls(ssl.create_default_context(cafile=trusted), server_hostname=host)
        writer.write(b"GET /page HTTP/1.1\r\n\r\n")
        return await reader.read()
    finally:
        writer.close()


async def test_child_that_trusts_us_gets_what_the_host_says(front: TlsFront) -> None:
    posing = Posing(["LOCALHOST", "127.0.0.1"], "")
    for host in ("127.0.0.1", "localhost"):
        async with HttpProxy(policy("localhost", "127.0.0.1"), f"https://{host}/", posing) as proxy:
            got = await fetch(proxy, front.port, posing.certificates, host)
            assert got.startswith(b"HTTP/1.1 200 OK\r\n")
            assert got.endswith(b"\r\n\r\n" + BODY)


async def test_host_that_is_not_named_speaks_for_itself(front: TlsFront) -> None:
    """Through a tunnel that sees nothing; our own certificate is of no use there."""
    posing = Posing(["localhost"], str(front.ca))
    async with HttpProxy(policy("localhost"), "https://127.0.0.1/", posing) as proxy:
        assert (await fetch(proxy, front.port, str(front.ca))).endswith(BODY)
        with pytest.raises(ssl.SSLCertVerificationError):
            await fetch(proxy, front.port, Posing(["127.0.0.1"], "").certificates)


async def test_children_trust_the_other_authorities_as_before(front: TlsFront) -> None:
    trusted = Path(Posing(["h"], str(front.ca)).certificates).read_bytes()
    assert trusted.endswith(front.ca.read_bytes())
    assert trusted.count(b"BEGIN CERTIFICATE") == 2
    assert b"PRIVATE KEY" not in trusted
    assert Posing((), str(front.ca)).certificates == str(front.ca)


async def test_host_that_does_no_tls_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posing_module, "_HANDSHAKE", 0.5)
    posing = Posing([HERE], "")
    async with Server() as plain, HttpProxy(policy(HERE), f"https://{HERE}/", posing) as proxy:
        assert await fetch(proxy, plain.port, posing.certificates, HERE) == b""
        assert proxy.failure.startswith(f"no TLS with {HERE}: ")


async def test_refused_address_stays_refused() -> None:
    """Whatever is said of its certificate."""
    posing = Posing(["127.0.0.1"], "")
    strict = Policy([ipaddress.ip_network(f"{HERE}/32")], insecure_hosts=["127.0.0.1"])
    async with Server() as server, HttpProxy(strict, f"https://{HERE}/", posing) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(proxy.proxy).port)
        writer.write(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n{proof(proxy)}\r\n".encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 403 ")
        writer.close()
        assert server.canary == 0
