"""What an SRT URL may say, and what is made of it."""

import asyncio
import ipaddress
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import AddressRefused, MediaError
from penstock.media import srt
from penstock.media.child import Child, Children
from penstock.media.conceal import conceal
from penstock.media.direct import Srt
from penstock.net import Policy
from tests.patience import PATIENCE

HERE = "127.0.0.2"
POLICY = Policy([ipaddress.ip_network(f"{HERE}/32")])


@pytest.mark.parametrize(
    ("query", "options", "secret"),
    [
        ("", {}, {}),
        ("?mode=caller&transtype=live", {}, {}),
        ("?streamid=live/a", {}, {"srt_streamid": "live/a"}),
        ("?streamid=#!::r=live/a,m=request&latency=0", {"latency": "0"}, {"srt_streamid": "#!::r=live/a,m=request"}),
        ("?streamid=%23!::r%3dlive%2fa", {}, {"srt_streamid": "#!::r=live/a"}),
        ("?streamid=-i&passphrase=-y+-y+-y%22%27", {}, {"srt_streamid": "-i", "passphrase": "-y -y -y\"'"}),
        ("?passphrase=0123456789&pbkeylen=32", {"pbkeylen": "32"}, {"passphrase": "0123456789"}),
        ("?passphrase=&pbkeylen=0&streamid=", {}, {}),
        ("?rcvlatency=10000&peerlatency=80", {"peerlatency": "80000", "rcvlatency": "10000000"}, {}),
        ("?latency=120000", {"latency": "120000"}, {}),
        ("?latency=99999999", {"latency": "10000000"}, {}),
    ],
)
def test_parameters_are_taken_apart(query: str, options: dict[str, str], secret: dict[str, str]) -> None:
    """A latency is in ms, or in microseconds if it is longer than any in ms would be."""
    found = srt.parse(f"srt://host:9000{query}")
    assert (found.host, found.port, dict(found.options), dict(found.secret)) == ("host", 9000, options, secret)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("srt://host", "no port"),
        ("srt://host:1/live/a", "no path"),
        ("srt://u:p@host:1", "no user"),
        ("srt://host:1?mode=listener", "its mode can only be caller"),
        ("srt://host:1?mode=rendezvous", "its mode can only be caller"),
        ("srt://host:1?transtype=file", "its transtype can only be live"),
        ("srt://host:1?streamid=a&streamid=b", "twice"),
        ("srt://host:1?localaddr=10.0.0.1", "its parameter localaddr is not served"),
        ("srt://host:1?" + "x" * 100 + "=1", f"its parameter {'x' * 40} is not served"),
        ("srt://host:1?pbkeylen=17", "pbkeylen"),
        ("srt://host:1?latency=-1", "its latency is not a number"),
        ("srt://host:1?latency=1e3", "its latency is not a number"),
        ("srt://host:1?peerlatency=1000000000", "its peerlatency is not a number"),
        ("srt://host:1?streamid=%00", "special character"),
        ("srt://host:1?passphrase=0123456789%0a", "special character"),
        ("srt://host:1?passphrase=123456789", "10 to 79"),
        ("srt://host:1?passphrase=" + "x" * 80, "10 to 79"),
        ("srt://host:1?streamid=" + "%e4%b8%ad" * 171, "longer than 512 bytes"),
    ],
)
def test_what_is_not_served_is_said_so(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        srt.parse(url)


@given(st.text(st.characters(exclude_characters="/?"), max_size=40))
def test_any_query_is_taken_or_refused(query: str) -> None:
    try:
        found = srt.parse(f"srt://host:1?{query}")
    except ValueError:
        return
    words = [*found.options.values(), *found.secret.values()]
    assert all(word.isprintable() and word for word in words)


async def test_child_gets_the_checked_address() -> None:
    async with Srt(POLICY, f"srt://{HERE}:9000?streamid=a") as way:
        assert way.url == f"srt://{HERE}:9000"
    for url in ("srt://127.0.0.1:9000", "srt://127.1:9000", "srt://[::1]:9000", "srt://[::ffff:7f00:1]:9000"):
        with pytest.raises(AddressRefused, match=r"network\.allow"):
            async with Srt(POLICY, url):
                pass
    with pytest.raises(MediaError, match="caller"):
        Srt(POLICY, f"srt://{HERE}:9000?mode=listener")


# What `ps` shows

THREADED = """
import sys, threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print(sys.argv[1:], flush=True)
time.sleep(60)
"""


async def shown(child: Child, secret: str) -> list[str]:
    """The arguments of a child once the secret is not among them."""
    path = Path(f"/proc/{child.pid}/cmdline")
    async with asyncio.timeout(PATIENCE):
        while "-p" not in (words := path.read_text().split("\0")) or secret in words:
            await asyncio.sleep(0.01)
    return words


async def test_arguments_are_concealed_once_they_have_been_read() -> None:
    """Those and no others; the program has them all the same."""
    program = [sys.executable, "-I", "-S", "-c", THREADED, "-p", "hush hush", "hush", "-i"]
    async with Children().run(program) as child:
        conceal(child, ["hush hush"])
        assert (await shown(child, "hush hush"))[-5:] == ["-p", "*********", "hush", "-i", ""]
        await child.spoken()
        assert b"'hush hush', 'hush'" in child.sock.recv(1000)


async def test_arguments_stay_while_they_may_be_needed() -> None:
    """And a child that ends meanwhile is no trouble."""
    program = [sys.executable, "-I", "-S", "-c", "print('up', flush=True); input()", "-p", "hush"]
    async with Children().run(program) as child:
        conceal(child, ["hush"])
        await child.spoken()
        await asyncio.sleep(0.1)
        assert "hush" in Path(f"/proc/{child.pid}/cmdline").read_text().split("\0")
    await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "SRT.cn: @5: REJECT reported from HS processing: Peer rejected - not processing further",
            "the SRT peer refuses: peer rejected",
        ),
        ("Connection to srt://127.0.0.1:1 failed: Input/output error", "nobody answers by SRT"),
        ("Error during demuxing: Connection timed out", "connected, but silent"),
        ("Error during demuxing: Input/output error", "has ended the connection, or is gone"),
        ("Invalid data found when processing input", "Invalid data found when processing input"),
    ],
)
def test_last_words_are_put_into_a_users(line: str, said: str) -> None:
    assert said in srt.explain(line)
