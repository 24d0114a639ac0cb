"""The FLV reader against FFmpeg's files and an encoder of the tests' own; whatever the bytes, it says what is wrong."""

import random
from contextlib import suppress

import pytest

from penstock.media.flv import FlvChunks, FlvError, FlvReader
from tests.media import clip
from tests.packets import Clip
from tests.rtmp_wire import AUDIO, DATA, VIDEO, Message, cut, flv_file, flv_tags

CLIP = Clip(seconds=1).messages()


def read(data: bytes, size: int = 0) -> list[tuple[int, int, bytes]]:
    """What the reader makes of bytes, `size` at a time; and the one by way of chunks, if there is nothing to refuse."""
    plain, chunks = FlvReader(), FlvChunks()
    found: list[tuple[int, int, bytes]] = []
    again: list[tuple[int, int, bytes]] = []
    for piece in cut(data, size) if size else [data]:
        plain.read(piece, found.append)
        chunks.read(piece, again.append)
        assert again == found
    return found


def as_read(messages: list[Message]) -> list[tuple[int, int, bytes]]:
    """The same as the reader tells them."""
    return [(m.type, m.timestamp, m.payload) for m in messages]


@pytest.mark.parametrize("size", [0, 1, 7, 4096])
def test_every_tag_is_read_however_the_bytes_are_cut(size: int) -> None:
    """Also byte by byte."""
    assert read(flv_file(CLIP), size) == as_read(CLIP)


def test_what_ffmpeg_writes_is_read() -> None:
    """All of its tags."""
    path = clip("plain")
    tags = list(flv_tags(path))
    assert {tag.type for tag in tags} == {AUDIO, VIDEO, DATA}
    assert read(path.read_bytes(), 1000) == as_read(tags)


def test_times_have_32_bits() -> None:
    """The upper eight stand behind the others."""
    times = (0, 0xFFFFFF, 0x1000000, 0x80000000, 0xFFFFFFFF, 0, 5, 4, 0xFFFFFF + 4)
    messages = [Message(VIDEO, at, b"\x27\x01abc") for at in times]
    assert read(flv_file(messages)) == as_read(messages)


def test_large_tags_and_empty_ones_are_read() -> None:
    """Also those that need several chunks."""
    messages = [Message(type_, at, bytes(at)) for at in (0, 65535, 65536, 65537, 300_000) for type_ in (AUDIO, VIDEO)]
    assert read(flv_file(messages)) == as_read(messages)


def test_a_tag_that_is_not_all_there_is_awaited() -> None:
    """What came before it has been handed on."""
    assert read(flv_file(CLIP)[:-1]) == as_read(CLIP[:-1])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GIF89a", "this is not FLV"),
        (b"FLV\x02", "this is not FLV"),
        (b"FLV\1\5\0\0\1\0" + bytes(4), "this is not FLV: its header claims 256 bytes"),
        (flv_file([Message(5, 0, b"x")]), "this is not FLV: a tag of type 5"),
        (flv_file([Message(VIDEO | 0x20, 0, b"x")]), "this FLV is encrypted"),
        (flv_file(CLIP[:1])[:-1] + b"\1", "this is not FLV: a tag and its size disagree"),
    ],
    ids=["signature", "version", "header", "type", "encrypted", "size"],
)
def test_what_is_no_flv_is_refused_in_words(data: bytes, reason: str) -> None:
    """The connection's reason."""
    with pytest.raises(FlvError, match=reason):
        read(data)


def test_damaged_files_are_read_or_refused() -> None:
    """Nothing else comes out of the reader."""
    rng, file = random.Random(3), flv_file(CLIP)
    for _ in range(2000):
        data = bytearray(file)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with suppress(FlvError):
            assert len(read(bytes(data))) <= len(CLIP) + 1
