"""User and password in RTMP URLs: both kinds of login, and servers that make a trap of them."""

import ipaddress
import subprocess
from urllib.parse import quote

import pytest

from penstock.errors import MediaError
from penstock.media.rtmp.client import ClientSession
from penstock.net import Policy
from tests.media import clip, ffmpeg_exe
from tests.rtmp_login import Guard
from tests.rtmp_peer import Origin, Sink, SinkThread
from tests.unit.test_client import Server, error
from tests.unit.test_redirects import Director

POLICY = Policy([ipaddress.ip_network("127.0.0.0/8")])
ANN = f"ann:{quote('p@ss/é', safe='')}"
GUARDS = {
    "adobe": lambda: Guard("adobe"),
    "adobe with opaque": lambda: Guard("adobe", opaque=True),
    "limelight": lambda: Guard("llnw"),
    "a user with all kinds of characters": lambda: Guard("adobe", "a&b=c?d@é %2f+"),
}
virtual = pytest.mark.looptime(noop_cycles=12)


def with_user(url: str, user: str = ANN) -> str:
    return url.replace("://", f"://{user}@")


def authority(guard: Guard) -> str:
    return f"{quote(guard.user, safe='')}:{quote(guard.password, safe='')}"


async def reason(url: str) -> str:
    """Why nobody is let in; the password is nowhere in it."""
    with pytest.raises(MediaError) as caught:
        await ClientSession.play(POLICY, url)
    words = caught.value.message
    assert not any(secret in words for secret in ("p@ss", ANN, "hush", "response="))
    assert "\n" not in words
    return words


@virtual
@pytest.mark.parametrize("app", ["live", "live/instance"])
@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize("publishing", [True, False])
async def test_who_knows_the_password_is_let_in(name: str, app: str, publishing: bool) -> None:
    """To play and to publish, what was percent-encoded decoded; the stream keeps its name and its key."""
    async with Sink() if publishing else Origin([]) as peer:
        peer.guard, peer.path = GUARDS[name](), f"{app}/test?key=1"
        url = with_user(peer.url, authority(peer.guard))
        session = await (ClientSession.publish if publishing else ClientSession.play)(POLICY, url)
        session.close()
        await peer.until(lambda: all(connection.closed for connection in peer.connections))
        connection = peer.connections[-1]
    assert (connection.app, connection.name) == (app, "test?key=1")
    assert connection.tc_url == f"rtmp://127.0.0.1:{peer.port}/{app}"
    assert len(peer.connections) == 3
    assert not any("p@ss" in query or quote("p@ss", safe="") in query for query in peer.guard.queries)


@virtual
@pytest.mark.parametrize("kind", ["adobe", "llnw"])
@pytest.mark.parametrize("user", ["ann:hush", "bob:hush", "ann:", "ann"])
async def test_who_does_not_know_it_is_told_so(kind: str, user: str) -> None:
    """In one line, after at most three connections."""
    async with Origin([]) as peer:
        peer.guard = Guard(kind)
        words = await reason(with_user(peer.url, user))
    assert words.startswith("refused by the server, the user name or the password is wrong: NetConnection.Connect.")
    assert words.endswith(f"[ AccessManager.Reject ] : [ authmod={kind} ]")
    assert len(peer.connections) <= 3


@virtual
async def test_url_without_a_user_says_that_one_is_wanted() -> None:
    async with Origin([]) as peer:
        peer.guard = Guard("adobe")
        assert "a user name and a password are wanted" in await reason(peer.url)
    assert len(peer.connections) == 1


@virtual
async def test_server_that_asks_nobody_hears_of_no_user() -> None:
    async with Origin([]) as peer:
        (await ClientSession.play(POLICY, with_user(peer.url))).close()
    [connection] = peer.connections
    assert (connection.app, connection.tc_url) == ("live", f"rtmp://127.0.0.1:{peer.port}/live")


@virtual
async def test_login_goes_along_where_a_server_sends_us() -> None:
    """Servers that share their load send clients on before they ask who they are."""
    async with Sink() as sink, Director({"redirect": f"rtmp://eve:x@127.0.0.1:{sink.port}/live"}) as director:
        sink.guard = Guard("adobe")
        session = await ClientSession.publish(POLICY, with_user(director.url))
        session.close()
    assert (sink.connections[-1].app, sink.connections[-1].name) == ("live", "test")


HOSTILE = {
    "another kind": ("[ authmod=kerberos ]", 1, "it wants a login of a kind that is not known"),
    "no challenge, for ever": ("[ code=403 need auth; authmod=adobe ]", 2, "it wants a login, and gives no challenge"),
    "challenges for ever": ("[ authmod=llnw ] : ?reason=needauth&nonce=1", 2, "the user name or the password is wrong"),
    "nothing in a challenge": ("authmod=adobe ?reason=needauth", 2, "the user name or the password is wrong"),
    "odd parameters": ("authmod=adobe ?reason=needauth&&=&salt&a=b=c&\ufffd=\x00", 2, "or the password is wrong"),
    "a long challenge": ("authmod=adobe ?reason=needauth&salt=" + "x" * 9999, 1, "challenge is longer than 1024"),
    "a long kind": ("authmod=adobe" + "x" * 70_000, 2, "it wants a login, and gives no challenge"),
}


@virtual
@pytest.mark.parametrize("name", HOSTILE)
async def test_server_that_is_never_content_is_left(name: str) -> None:
    """Soon, and with a short reason."""
    description, visits, words = HOSTILE[name]
    async with Server(connect=error("NetConnection.Connect.Rejected", description)) as server:
        found = await reason(with_user(server.url))
        assert words in found
        assert len(found) < 400
        assert len(server.connections) == visits


@pytest.mark.parametrize("kind", ["adobe", "llnw"])
def test_guard_of_these_tests_lets_ffmpeg_in(kind: str) -> None:
    """It speaks both kinds, too; with a wrong password it stays outside."""

    def publish(sink: SinkThread, password: str) -> str:
        command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-t", "0.2", "-i", str(clip("plain")), "-c", "copy"]
        done = subprocess.run(
            [*command, "-f", "flv", with_user(sink.url, f"ann:{password}")], capture_output=True, check=False, text=True
        )
        return done.stderr

    with SinkThread() as sink:
        sink.peer.guard = Guard(kind, password="pass")
        assert publish(sink, "pass") == ""
        assert len(sink.until(lambda: sink.connections[-1].frames)) > 0
        assert "Incorrect username/password" in publish(sink, "word")
        assert [connection.app for connection in sink.connections] == ["live"] * len(sink.connections)
