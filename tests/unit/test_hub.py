"""The hub on loopback, in virtual time: publishing and playing, and what is refused."""

import asyncio

import pytest

from penstock.hub import server
from penstock.hub.access import is_loopback
from penstock.hub.server import PLAY_PATIENCE
from penstock.hub.streams import Name, Publication, Totals
from penstock.media import framing
from penstock.tasks.publishing import Directory
from tests import packets
from tests.packets import AVC_HEADER, Clip, aac_header, number_of
from tests.rtmp_wire import AUDIO, DATA, VIDEO, Message
from tests.unit.house import CLIP, GONE, house, media
from tests.unit.wires import Wires

pytestmark = pytest.mark.looptime(noop_cycles=12)


# -- publish and play


async def test_what_is_published_is_played() -> None:
    """Headers, then everything from the newest keyframe on, unchanged."""
    async with house() as there:
        publisher = await there.publish()
        assert publisher.codes == ["NetStream.Publish.Start"]
        messages = CLIP.messages()
        publisher.send(messages[:-100])
        await there.until(lambda: there.hub.status().streams[0].video > 20)
        player = await there.play()
        assert player.codes == ["NetStream.Play.Reset", "NetStream.Play.Start"]
        publisher.send(messages[-100:])
        await player.until(lambda: player.media[-1:] == media(messages[-1:]))
        first = next(at for at, m in enumerate(player.media) if m[0] == VIDEO and m[2][1] == 1)
        assert [payload for _, _, payload in player.media[:first]] == [messages[0].payload, AVC_HEADER, aac_header()]
        assert number_of(player.media[first][2]) % 25 == 0
        tail = player.media[first:]
        assert tail == media(messages)[-len(tail) :]


async def test_metadata_inside_set_data_frame_is_played_as_metadata() -> None:
    """Encoders wrap it, players do not expect it."""
    async with house() as there:
        publisher = await there.publish()
        messages = CLIP.messages()
        wrapped = Message(DATA, 0, b"\x02\x00\x0d@setDataFrame" + messages[0].payload)
        publisher.send([wrapped, *messages[1:]])
        player = await there.play()
        await player.until(lambda: player.media)
        assert player.media[0][2] == messages[0].payload


async def test_a_late_player_gets_a_picture_at_once() -> None:
    """From the newest group of pictures, which the hub keeps."""
    async with house() as there:
        publisher = await there.publish()
        publisher.send(CLIP.messages())
        await there.until(lambda: there.hub.status().streams[0].video == 75)
        player = await there.play()
        await player.until(lambda: player.media)
        assert [number_of(m[2]) for m in player.media if m[0] == VIDEO and m[2][1] == 1] == list(range(50, 75))


async def test_a_player_may_come_before_the_publisher() -> None:
    """It is granted when the stream begins."""
    async with house() as there:
        waiting = asyncio.ensure_future(there.play())
        await asyncio.sleep(PLAY_PATIENCE - 1)
        assert not waiting.done()
        publisher = await there.publish()
        publisher.send(CLIP.messages())
        player = await waiting
        await player.until(lambda: player.media)


async def test_a_stream_that_nobody_publishes_is_not_found() -> None:
    """After some seconds of patience."""
    async with house() as there:
        begun = asyncio.get_running_loop().time()
        player = await there.play()
        assert player.codes == ["NetStream.Play.StreamNotFound"]
        assert asyncio.get_running_loop().time() - begun == pytest.approx(PLAY_PATIENCE, abs=0.1)
        await player.until_ended()
        assert there.hub._streams is not None
        assert there.hub._streams._arrivals == {} or not any(there.hub._streams._arrivals.values())


async def test_a_second_publisher_is_refused_and_the_first_goes_on() -> None:
    """The name is taken."""
    async with house() as there:
        first = await there.publish()
        second = await there.publish()
        assert second.codes == ["NetStream.Publish.BadName"]
        await second.until_ended()
        first.send(CLIP.messages())
        player = await there.play()
        await player.until(lambda: player.media)
        other = await there.publish("other")
        assert other.codes == ["NetStream.Publish.Start"]


@pytest.mark.parametrize("goodbye", ["FCUnpublish", "deleteStream", "closeStream", "", "reset"])
async def test_players_are_told_when_the_publisher_leaves(goodbye: str) -> None:
    """StreamEOF, UnpublishNotify, and the end; everything that was published came before. The name is free again."""
    async with house() as there:
        publisher = await there.publish()
        player = await there.play()
        publisher.send(CLIP.messages())
        await player.until(lambda: player.media)
        if goodbye == "reset":
            await there.until(lambda: there.hub.status().streams[0].video == 75)
            publisher.writer.transport.abort()
        elif goodbye:
            publisher.command(goodbye, 6, None, "test")
        else:
            await publisher.close()
        await player.until_ended()
        assert player.media[-1] == media(CLIP.messages())[-1]
        assert [m.payload for m in player.messages if m.type == 4][-1] == bytes.fromhex("0001 00000001")
        assert player.codes[-2:] == GONE
        assert not there.hub.status().streams
        again = await there.publish()
        assert again.codes == ["NetStream.Publish.Start"]


async def test_a_player_that_comes_in_the_moment_in_which_the_publisher_leaves_is_told() -> None:
    """Between finding the stream and joining it lies an answer on the network."""
    with Wires() as wires:
        publication = Publication(wires.pump, lambda: 0, Totals(), Name(1, "live", "test"))
        publication.end(server._farewell)
        peer = wires.peer()
        peer.parser.chunk_size = 65536
        playing = asyncio.ensure_future(publication.play(peer.connection, framing.rtmp_play))
        await asyncio.sleep(0)
        assert [m.type for m in peer.messages()] == [4, 20, 20]
        peer.sock.close()
        wires.pump.serve()
        await playing


@pytest.mark.parametrize(("app", "name"), [("", "x"), ("live", ""), ("live", "?key=1")])
async def test_a_stream_without_a_name_is_refused(app: str, name: str) -> None:
    """To publishers and players."""
    async with house() as there:
        publisher, player = await there.publish(name, app), await there.play(name, app)
        assert publisher.codes == ["NetStream.Publish.BadName"]
        assert player.codes == ["NetStream.Play.StreamNotFound"]


async def test_arguments_are_no_part_of_the_name() -> None:
    """Keys travel in the query, of the stream or of the application."""
    async with house() as there:
        publisher = await there.publish("test?txSecret=1", "live?a=b")
        publisher.send(CLIP.messages())
        player = await there.play("test?token=2")
        await player.until(lambda: player.media)
        assert [(info.app, info.stream) for info in there.hub.status().streams] == [("live", "test")]


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("8.8.8.8", False),
        ("::ffff:8.8.8.8", False),
        ("fe80::1%eth0", False),
        ("2001:db8::1", False),
    ],
)
def test_only_this_machine_is_loopback(address: str, loopback: bool) -> None:
    """Also as an IPv4 address inside IPv6, and with a zone."""
    assert is_loopback(address) is loopback


async def test_streams_are_measured() -> None:
    """What came, who plays, what slow players lost."""
    async with house() as there:
        publisher = await there.publish()
        players = [await there.play() for _ in range(2)]
        for second in range(6):
            publisher.send(Clip(seconds=1, start=second * 1000).messages()[3 if second else 0 :])
            await asyncio.sleep(1)
        (info,) = there.hub.status().streams
        assert (info.app, info.stream, len(info.players), info.dropped) == ("live", "test", 2, 0)
        assert (info.video, info.keyframes, info.video_codec, info.audio_codec) == (150, 6, "h264", "aac")
        assert info.audio == 276
        assert 5_900 <= info.media_ms <= 6_000
        assert [(player.client, player.protocol, player.dropped) for player in info.players] == [
            ("127.0.0.1", "rtmp", 0),
            ("127.0.0.1", "rtmp", 0),
        ]
        assert all(info.bytes <= player.bytes <= info.bytes * 1.05 for player in info.players)
        assert all(player.bitrate == pytest.approx(info.bitrate, rel=0.2) for player in info.players)
        totals = there.hub.status()
        assert (totals.received, totals.sent) == (info.bytes, sum(player.bytes for player in info.players))
        sent = info.bytes
        assert 0.5 < info.bitrate / (sent * 8 / 6) < 2
        await players[0].close()
        await there.until(lambda: len(there.hub.status().streams[0].players) == 1)
        assert there.hub.status().sent >= totals.sent
        players[1].command("closeStream", 0, None)
        await players[1].until_ended()
        await there.until(lambda: not there.hub.status().streams[0].players)


async def test_losses_of_players_that_have_left_stay_counted() -> None:
    """The stream's total only grows."""
    async with house() as there:
        publisher = await there.publish()
        slow = await there.play()
        big = [packets.picture(at, key=at % 5 == 0, size=500_000) for at in range(60)]
        publisher.send([Message(VIDEO, 0, AVC_HEADER), Message(AUDIO, 0, aac_header())])
        for at, payload in enumerate(big):
            publisher.send([Message(VIDEO, 40 * at, payload)])
            await publisher.writer.drain()
        await there.until(lambda: there.hub.status().streams[0].video == 60)
        await there.until(lambda: there.hub.status().streams[0].dropped)
        await asyncio.sleep(1)
        (info,) = there.hub.status().streams
        dropped = info.dropped
        assert [player.dropped for player in info.players] == [dropped]
        await slow.close()
        await there.until(lambda: not there.hub.status().streams[0].players)
        assert there.hub.status().streams[0].dropped == dropped
        await publisher.close()
        await there.until(lambda: not there.hub.status().streams)
        assert there.hub.status().dropped == dropped


async def test_players_are_told_apart_by_protocol_and_by_when_they_came() -> None:
    """RTMP and HTTP-FLV, each from its own start."""
    async with house() as there:
        publisher = await there.publish()
        publisher.send(CLIP.messages())
        await there.play()
        await asyncio.sleep(2)
        _, writer = await there.http()
        writer.write(b"GET /live/test.flv HTTP/1.1\r\nHost: x\r\n\r\n")
        await there.until(lambda: len(there.hub.status().streams[0].players) == 2)
        (info,) = there.hub.status().streams
        first, second = info.players
        assert (first.protocol, second.protocol) == ("rtmp", "http-flv")
        assert info.since <= first.since <= second.since - 2000


async def test_a_stream_that_began_before_the_first_account_is_that_account_s() -> None:
    """Who waits for it, who asks by a host and who publishes it again finds it under the account."""
    async with house() as there:
        publisher = await there.publish()
        assert there.hub.status().streams[0].account_id == 0
        there.access.directory = Directory(first=3)
        player = await there.play()
        publisher.send(CLIP.messages())
        await player.until(lambda: player.media)
        assert there.hub.status().streams[0].account_id == 3
        assert (await there.publish()).codes == ["NetStream.Publish.BadName"]
        await publisher.close()
        await player.until_ended()
        assert not there.hub.status().streams


async def test_a_hub_that_stops_lets_everybody_go() -> None:
    """Players are told; every connection ends."""
    async with house() as there:
        publisher, player = await there.publish(), await there.play()
        publisher.send(CLIP.messages())
        await player.until(lambda: player.media)
        there.task.cancel()
        await player.until_ended()
        assert player.codes[-2:] == GONE
        await publisher.until_ended()
