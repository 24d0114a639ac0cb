"""HLS that is held warm: a real nginx with its cache before an origin whose log counts, and playlists of every kind."""

import asyncio
import ipaddress
import urllib.request
from pathlib import Path

import pytest

from penstock.errors import AddressRefused, MediaError, SourceError
from penstock.media.hold.drain import Drain
from penstock.media.hold.playlist import Master, Playlist, parse
from penstock.media.hold.proof import Watched
from penstock.media.plan import Hold
from penstock.media.warming import watch_with
from penstock.net import Policy
from tests.e2e.nginx import Nginx
from tests.http_peer import FORBIDDEN, HERE, Answer, Server
from tests.patience import PATIENCE
from tests.tls_front import TlsFront

POLICY = Policy([ipaddress.ip_network("127.0.0.2/32")])
#: As MPEG-TS begins, long enough to be drained.
SEGMENT = (b"\x47" + bytes(187)) * 2000
CACHE = "proxy_cache_path {folder}/cache keys_zone=live:1m; proxy_buffering on;"
EDGE = """
location / {{ proxy_pass {origin}; proxy_cache live; proxy_cache_lock on; proxy_cache_valid 200 1m;
              add_header X-Cache-Status $upstream_cache_status; }}
location ~ m3u8$ {{ proxy_pass {origin}; }}
"""


def hold(port: int, host: str = HERE, *, tls: bool = False) -> Hold:
    """A stream on an edge that viewers know as play.example.com."""
    return Hold(
        id="e/hls",
        edge="e",
        area="domestic",
        url="http://play.example.com/live/test.m3u8",
        protocol="hls",
        tls=tls,
        host=host,
        port=port,
        vhost="play.example.com",
        path="/live/test.m3u8",
    )


def text(first: int, last: int, *, before: str = "", after: str = "", name: str = "{}.ts") -> bytes:
    """A live playlist of segments of one second."""
    head = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}", before]
    lines = [line for number in range(first, last + 1) for line in ("#EXTINF:1.0,", name.format(number))]
    return "\n".join([*head, *lines, after, ""]).encode()


async def watch(wanted: Hold, policy: Policy = POLICY) -> Watched:
    """Watch it until its newest segments are there."""
    return await watch_with(policy, Drain(tick=0.02))(wanted)


async def fails(wanted: Hold) -> str:
    """Why it cannot be watched."""
    with pytest.raises((MediaError, AddressRefused)) as caught:
        (await watch(wanted)).close("")
    return caught.value.message


async def ends(holding: "asyncio.Task[None]") -> str:
    """Why it is held no longer."""
    with pytest.raises((MediaError, AddressRefused)) as caught:
        await asyncio.wait_for(holding, PATIENCE)
    return caught.value.message


class Station:
    """An origin that publishes segments as files, and counts in its log who fetched them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = -1

    def publish(self, count: int) -> None:
        """Add segments, and the playlist of the newest five."""
        live = self.folder / "www" / "live"
        live.mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            self.last += 1
            (live / f"{self.last}.ts").write_bytes(SEGMENT)
        (live / "new").write_bytes(text(max(0, self.last - 4), self.last))
        (live / "new").rename(live / "test.m3u8")

    def fetched(self) -> dict[str, int]:
        """How often each segment was fetched here."""
        lines = (self.folder / "access.log").read_text().splitlines()
        names = [line.split('"')[1].split(" ")[1].rpartition("/")[2] for line in lines]
        return {name: names.count(name) for name in names if name.endswith(".ts")}


async def test_viewers_of_a_warmed_nginx_edge_cost_the_origin_nothing(tmp_path: Path) -> None:
    station = Station(tmp_path / "origin")
    edge_folder = tmp_path / "edge"
    station.folder.mkdir()
    edge_folder.mkdir()
    station.publish(6)
    cache = CACHE.format(folder=edge_folder)
    with (
        Nginx(station.folder) as origin,
        Nginx(edge_folder, http=EDGE.format(origin=origin.http_url), all_http=cache) as edge,
    ):
        watched = await watch(hold(edge.http_port, "127.0.0.1"))
        holding = asyncio.ensure_future(watched.hold())
        await fetches(station, 3)
        assert station.fetched() == {"3.ts": 1, "4.ts": 1, "5.ts": 1}
        station.publish(2)
        await fetches(station, 5)
        states = await asyncio.to_thread(visit, edge.http_url, range(3, 8), 100)
        assert states == {"HIT"}
        assert station.fetched() == {f"{number}.ts": 1 for number in range(3, 8)}
        assert watched.received > 5 * len(SEGMENT)
        watched.close("enough")
        assert await ends(holding) == "enough"


async def fetches(station: Station, number: int) -> None:
    """Wait until so many segments have been fetched; nginx writes its log when all is sent."""
    async with asyncio.timeout(PATIENCE):
        while len(station.fetched()) < number:
            await asyncio.sleep(0.05)


def visit(url: str, numbers: range, viewers: int) -> set[str]:
    """Fetch the segments as so many viewers; what the edge says of its cache."""
    states = set()
    for _ in range(viewers):
        for number in numbers:
            with urllib.request.urlopen(f"{url}/live/{number}.ts") as answer:
                assert answer.read() == SEGMENT
                states.add(answer.headers["X-Cache-Status"])
    return states


async def test_every_rendition_is_watched() -> None:
    async with Server() as edge:
        master = (
            b'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",URI="sound.m3u8"\n'
            b'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="en",URI="words.m3u8"\n'
            b"#EXT-X-STREAM-INF:BANDWIDTH=1\nlow.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\nhigh.m3u8\n"
        )
        edge.pages["/live/test.m3u8"] = Answer(master)
        for name in ("sound", "low", "high"):
            map_ = f'#EXT-X-MAP:URI="{name}.mp4"'
            edge.pages[f"/live/{name}.m3u8"] = Answer(text(7, 7, before=map_, name=f"{name}{{}}.m4s"))
            edge.pages[f"/live/{name}.mp4"] = edge.pages[f"/live/{name}7.m4s"] = Answer(b"\0\0\0\x18ftypiso5" * 99)
        watched = await watch(hold(edge.port))
        asked = {head.split(" ")[1] for head in edge.heads}
        assert asked == edge.pages.keys()
        assert all("\r\nHost: play.example.com\r\n" in head for head in edge.heads)
        watched.close("")


async def test_segments_over_https_are_fetched_whole(tmp_path: Path) -> None:
    async with Server() as edge:
        edge.pages |= {"/live/test.m3u8": Answer(text(0, 1)), "/live/0.ts": Answer(SEGMENT)}
        whole, broken = Answer(SEGMENT), Answer(SEGMENT, headers=(f"Content-Length: {2 * len(SEGMENT)}",), length=False)
        with TlsFront(tmp_path, edge.port, host=HERE) as front:
            wanted, trusting = hold(front.port, FORBIDDEN, tls=True), Policy(insecure_hosts=["play.example.com"])
            edge.pages["/live/1.ts"] = broken
            with pytest.raises(MediaError, match="a segment breaks off"):
                await watch(wanted, trusting)
            edge.pages["/live/1.ts"] = whole
            watched = await watch(wanted, trusting)
            assert watched.received > 2 * len(SEGMENT)
            watched.close("")
            assert "the certificate of play.example.com is not trusted" in await fails(wanted)


async def test_stream_that_ends_or_stands_still_is_told_of() -> None:
    async with Server() as edge:
        edge.pages |= {"/live/test.m3u8": Answer(text(0, 0)), "/live/0.ts": Answer(SEGMENT)}
        watched = await watch(hold(edge.port))
        still = asyncio.ensure_future(watched.hold())
        ending = asyncio.ensure_future((await watch(hold(edge.port))).hold())
        assert (await ends(still)).startswith("the playlist has not moved for")
        await ends(ending)
        ending = asyncio.ensure_future((await watch(hold(edge.port))).hold())
        edge.pages["/live/test.m3u8"] = Answer(text(0, 0, after="#EXT-X-ENDLIST"))
        assert await ends(ending) == "the stream has ended"


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ({"test.m3u8": Answer(b"<html>")}, "this is not an HLS playlist"),
        ({"test.m3u8": Answer(b"\xff\x00" * 99)}, "this is not an HLS playlist"),
        ({"test.m3u8": Answer(b"#EXTM3U\n")}, "the playlist names no segment"),
        ({"test.m3u8": Answer(b"#EXTM3U\n" + b"x\n" * 3_000_000)}, "the server's answer is longer than 4194304 bytes"),
        ({"test.m3u8": Answer(text(0, 0))}, "HTTP status 404"),
        (
            {"test.m3u8": Answer(text(0, 0)), "0.ts": Answer(b"<html>", headers=("Content-Type: text/html",))},
            "a segment holds no media (the edge calls it text/html)",
        ),
        ({"test.m3u8": Answer(text(0, 0)), "0.ts": Answer()}, "a segment holds no media"),
        (
            {"test.m3u8": Answer(text(0, 0, name="https://cdn.example.com/0.ts"))},
            "a segment is served by another protocol (https)",
        ),
        (
            {"test.m3u8": Answer(text(0, 0, name="file:///etc/passwd"))},
            "a segment is served by another protocol (file)",
        ),
        ({"test.m3u8": Answer(text(0, 0, name="http://[/0.ts"))}, "a playlist names what is no URL"),
    ],
)
async def test_stream_that_cannot_be_held_says_why(pages: dict[str, Answer], why: str) -> None:
    async with Server() as edge:
        edge.pages = {f"/live/{name}": answer for name, answer in pages.items()}
        assert await fails(hold(edge.port)) == why


async def test_segment_elsewhere_goes_through_the_policy() -> None:
    async with Server() as edge:
        edge.pages["/live/test.m3u8"] = Answer(text(0, 0, name=f"http://{FORBIDDEN}:{edge.port}/0.ts"))
        assert await fails(hold(edge.port)) == (
            f"address {FORBIDDEN} is not public; the setting network.allow can permit it"
        )
        assert edge.canary == 0


def test_playlist_is_read_as_rfc_8216_has_it() -> None:
    where = "http://e/live/x.m3u8"
    found = parse(text(9, 10, before='#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXT-X-MAP:URI="/i.mp4"'), where)
    segments = ((9, "http://e/live/9.ts"), (10, "http://e/live/10.ts"))
    assert found == Playlist(1.0, segments, "http://e/i.mp4", ended=False, encrypted=True)
    master = b"\xef\xbb\xbf#EXTM3U\r\n#EXT-X-STREAM-INF:X=1\r\n\r\n# words\r\nlow.m3u8\r\nnothing\r\n"
    assert parse(master, where) == Master(("http://e/live/low.m3u8",))


@pytest.mark.parametrize(
    "line", ["#EXT-X-MEDIA-SEQUENCE:x", "#EXT-X-TARGETDURATION:-1", "#EXT-X-MEDIA-SEQUENCE:" + "9" * 99]
)
def test_damaged_number_is_refused(line: str) -> None:
    with pytest.raises(SourceError, match="a number is damaged"):
        parse(f"#EXTM3U\n{line}\n".encode(), "http://e/x.m3u8")
