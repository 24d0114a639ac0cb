"""How a message is written for each kind of receiver: RTMP publish, RTMP play, FLV."""

from collections.abc import Callable
from functools import cache

from penstock.media.packet import AUDIO, DATA, SET_DATA_FRAME, VIDEO
from penstock.media.rtmp.chunk import OUT_CHUNK_SIZE, message

#: (message type, unwrapped timestamp in ms, payload) to bytes. Equal receivers share one framing, so that a
#: message is written once for all of them.
Framing = Callable[[int, int, bytes], bytes]

_CHUNK_STREAMS = {DATA: 5, VIDEO: 6, AUDIO: 4}


class RtmpPublish:
    """The framing for a server that we publish to; metadata goes inside ``@setDataFrame``. Use `rtmp_publish`."""

    def __init__(self, stream_id: int, chunk_size: int) -> None:
        self.stream_id = stream_id
        self.chunk_size = chunk_size

    def __call__(self, type_: int, timestamp: int, payload: bytes) -> bytes:
        if type_ == DATA:
            payload = SET_DATA_FRAME + payload
        return message(_CHUNK_STREAMS[type_], type_, self.stream_id, timestamp, payload, self.chunk_size)


@cache
def rtmp_publish(stream_id: int, chunk_size: int = OUT_CHUNK_SIZE) -> RtmpPublish:
    """Return the framing for a message stream of a server; equal ones are the same object."""
    return RtmpPublish(stream_id, chunk_size)


def rtmp_play(type_: int, timestamp: int, payload: bytes) -> bytes:
    """Write for a player on message stream 1, the only one that the hub creates."""
    return message(_CHUNK_STREAMS[type_], type_, 1, timestamp, payload, OUT_CHUNK_SIZE)


def flv(type_: int, timestamp: int, payload: bytes) -> bytes:
    """Write one FLV tag with its trailing size (Adobe FLV 10.1, E.4)."""
    timestamp &= 0xFFFFFFFF
    return b"".join(
        (
            bytes((type_,)),
            len(payload).to_bytes(3, "big"),
            (timestamp & 0xFFFFFF).to_bytes(3, "big"),
            bytes((timestamp >> 24, 0, 0, 0)),
            payload,
            (len(payload) + 11).to_bytes(4, "big"),
        )
    )


def flv_header(*, audio: bool, video: bool) -> bytes:
    """Return what an FLV stream begins with: version 1, the kinds to be expected, no previous tag."""
    return b"FLV\x01%c\x00\x00\x00\x09\x00\x00\x00\x00" % (audio << 2 | video)


def flv_chunked(type_: int, timestamp: int, payload: bytes) -> bytes:
    """Write one FLV tag as one chunk of an HTTP/1.1 response (RFC 9112, section 7.1)."""
    return http_chunk(flv(type_, timestamp, payload))


def http_chunk(data: bytes) -> bytes:
    """Return bytes as one chunk of an HTTP/1.1 response; no bytes end the response."""
    return b"%x\r\n%b\r\n" % (len(data), data)
