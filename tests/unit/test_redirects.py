"""Servers that send us on, in virtual time: where we go, with what, and where we do not."""

import ipaddress
from typing import Any

import pytest

from penstock.errors import AddressRefused, MediaError
from penstock.media.rtmp import amf
from penstock.media.rtmp.client import MAX_REDIRECTS, ClientSession
from penstock.media.rtmp.refusal import redirection
from penstock.net import Policy
from tests.rtmp_peer import Connection, Origin, Peer, Sink

pytestmark = pytest.mark.looptime(noop_cycles=12)

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]
POLICY = Policy(LOOPBACK)


class Director(Peer):
    """Sends clients on, when they connect or (`late`) when they publish or play."""

    def __init__(self, where: dict[str, Any], *, late: bool = False) -> None:
        super().__init__()
        self.ex = {"code": 302} | where
        self.late = late

    def _command(self, connection: Connection, verb: str, transaction: float, *values: Any) -> None:
        info = {"level": "error", "code": "NetConnection.Connect.Rejected", "description": "moved", "ex": self.ex}
        if verb == "connect" and not self.late:
            connection.command("_error", transaction, None, info)
        elif verb in ("publish", "play"):
            connection.command("onStatus", 0, None, info, stream_id=1)
        else:
            super()._command(connection, verb, transaction, *values)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("field", ["redirect", "redirect2"])
async def test_a_source_is_found_where_the_server_says(late: bool, field: str) -> None:
    """By Adobe's way (tcUrl, when connecting) and by SRS's (the whole URL, when playing); the key goes along."""
    async with Origin([]) as origin:
        path = "other" if field == "redirect" else "other/test?token=1"
        async with Director({field: f"rtmp://127.0.0.1:{origin.port}/{path}"}, late=late) as director:
            session = await ClientSession.play(POLICY, f"{director.url}?key=2")
            session.close()
            await director.until(lambda: director.connections[0].closed)
        (connection,) = origin.connections
    assert (connection.app, connection.tc_url) == ("other", f"rtmp://127.0.0.1:{origin.port}/other")
    assert connection.name == ("test?key=2" if field == "redirect" else "test?token=1")


async def test_a_destination_is_found_through_several_servers() -> None:
    """As many as are allowed; the stream keeps its name, also when the server gives the whole URL as tcUrl."""
    async with Sink() as sink, Director({"redirect": f"{sink.url}/"}) as near, Director({"redirect": near.url}) as far:
        session = await ClientSession.publish(POLICY, far.url)
        session.close()
        assert session.url == sink.url
        assert [len(peer.connections) for peer in (sink, near, far)] == [1, 1, 1]
        assert (sink.connections[0].app, sink.connections[0].name) == ("live", "test")


async def test_servers_that_send_us_round_in_circles_are_left() -> None:
    """After five of them."""
    async with Director({}) as director:
        director.ex["redirect"] = director.url
        with pytest.raises(MediaError, match=f"redirected more than {MAX_REDIRECTS} times"):
            await ClientSession.play(POLICY, director.url)
        assert len(director.connections) == 1 + MAX_REDIRECTS


async def refusal(where: object, policy: Policy = POLICY) -> str:
    """What becomes of a redirection; the key is nowhere in it."""
    async with Director({"redirect": where}) as director:
        with pytest.raises((MediaError, AddressRefused)) as caught:
            await ClientSession.publish(policy, f"{director.url}?secret=stream-key")
    assert "stream-key" not in caught.value.message
    return caught.value.message


async def test_the_network_policy_holds_for_every_address() -> None:
    """A public server cannot send us to what its caller may not reach."""
    found = await refusal("rtmp://169.254.169.254/latest")
    assert found.startswith("redirected to rtmp://169.254.169.254/latest: address 169.254.169.254 is not public")


async def test_nobody_is_sent_to_our_own_hub() -> None:
    """Its streams belong to accounts, which was checked for the URL that a caller gave, and for no other."""
    policy = Policy(LOOPBACK, hub_names=["hub.penstock"], hub=("127.0.0.1", 1935))
    for host in ("hub.penstock", "127.0.0.1:1935", "LOCALHOST"):
        assert (await refusal(f"rtmp://{host}/live", policy)).endswith("redirected to this server itself")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("rtmps://127.0.0.1/live", "redirected to another protocol (rtmps)"),
        ("file:///etc/passwd", "redirected to what is no URL"),
        ("rtmp://[::1", "redirected to what is no URL"),
        ("rtmp://h:99999/live", "redirected to what is no URL"),
        ("rtmp://h/" + "x" * 5000, "redirected to what is no URL"),
        ("", "redirected to what is no URL"),
        (7, "redirected to what is no URL"),
        ("rtmp://127.0.0.1:1/live", "redirected to rtmp://127.0.0.1:1/live: connection refused"),
    ],
    ids=["protocol", "file", "bracket", "port", "long", "empty", "number", "nobody there"],
)
async def test_a_redirection_that_leads_nowhere_says_so(where: object, words: str) -> None:
    """With where it led."""
    assert words in await refusal(where)


async def test_a_refusal_with_another_code_is_a_refusal() -> None:
    """``ex`` alone sends nobody anywhere."""
    async with Director({"redirect": "rtmp://127.0.0.1:1/live", "code": 403}) as director:
        with pytest.raises(MediaError, match=r"refused by the server: NetConnection\.Connect\.Rejected, moved"):
            await ClientSession.play(POLICY, director.url)


def test_queries_of_both_urls_are_kept() -> None:
    """A tcUrl may have one, which goes before the stream's."""
    info: amf.Value = {
        "code": "NetConnection.Connect.Rejected",
        "ex": {"code": 302.0, "redirect": "rtmp://h/app?vhost=v"},
    }
    assert redirection(["_error", 1.0, None, info], "rtmp://g/live/x?key=1") == "rtmp://h/app/x?vhost=v&key=1"
