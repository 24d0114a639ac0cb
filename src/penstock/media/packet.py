"""Audio and video messages as RTMP and FLV carry them: what a payload is, without decoding it.

Layouts: Adobe FLV 10.1 annex E, and the Enhanced RTMP v2 specification (veovera.org) for FourCC codecs.
"""

from enum import IntEnum
from typing import NamedTuple

#: Message (and FLV tag) types.
AUDIO = 8
VIDEO = 9
DATA = 18


class Kind(IntEnum):
    """What a message means to a receiver that joins, splices or counts."""

    #: Nothing that a receiver can use: empty, end of sequence, unknown packet type.
    NOTHING = 0
    #: ``onMetaData``.
    METADATA = 1
    #: Codec configuration: an AVCDecoderConfigurationRecord, an AudioSpecificConfig, …
    HEADER = 2
    KEYFRAME = 3
    FRAME = 4
    #: Audio data.
    SOUND = 5
    #: Script data other than onMetaData: cue points, captions.
    SCRIPT = 6
    #: Configuration beside the first track's: another track's, colours, the layout of channels.
    EXTRA_HEADER = 7
    #: A picture or sound of another track than the first.
    EXTRA = 8


_AVC_LIKE = {7: "h264", 12: "hevc"}
_OTHER_VIDEO = {1: "jpeg", 2: "flv1", 3: "flashsv", 4: "vp6f", 5: "vp6a", 6: "flashsv2"}
_FOURCC = {
    b"avc1": "h264",
    b"hvc1": "hevc",
    b"av01": "av1",
    b"vp09": "vp9",
    b"vp08": "vp8",
    b"vvc1": "vvc",
    b"mp4a": "aac",
    b"Opus": "opus",
    b"fLaC": "flac",
    b"ac-3": "ac3",
    b"ec-3": "eac3",
    b".mp3": "mp3",
}
_SOUND_FORMATS = {
    0: "pcm",
    1: "adpcm_swf",
    2: "mp3",
    3: "pcm_s16le",
    4: "nellymoser",
    5: "nellymoser",
    6: "nellymoser",
    7: "pcm_alaw",
    8: "pcm_mulaw",
    10: "aac",
    11: "speex",
    14: "mp3",
}
#: Codecs whose media can be decoded without a header before it.
HEADERLESS = frozenset({*_OTHER_VIDEO.values(), *_SOUND_FORMATS.values(), *("ac3", "eac3", "vp8")} - {"aac"})
#: Codecs whose coded frames begin with a composition time.
_REORDERED = (b"avc1", b"hvc1", b"vvc1")
#: The FourCCs that a peer may be told of, as Enhanced RTMP has them.
FOURCCS = tuple(code.decode() for code in _FOURCC)
_EXTENDED_AUDIO = 9
_AAC = 10
#: Bytes of the shortest AAC header: two, then an AudioSpecificConfig of two.
_AAC_HEADER = 4

# Packet types of enhanced tags, of both kinds, of video and of audio.
_SEQUENCE_START, _CODED_FRAMES, _MODIFIER = 0, 1, 7
_CODED_FRAMES_X, _VIDEO_METADATA, _TS_SEQUENCE_START, _MULTITRACK = 3, 4, 5, 6
_MULTICHANNEL_CONFIG, _MULTITRACK_AUDIO = 4, 5
#: How a multitrack packet begins: one track, or many whose codec is the same or not.
_ONE_TRACK, _MANY_CODECS = 0, 2
_COMMAND_FRAME = 0x50

_SAMPLE_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)

#: How script data begins (AMF0 strings); an encoder that publishes puts the second before the first.
ON_METADATA = b"\x02\x00\x0aonMetaData"
SET_DATA_FRAME = b"\x02\x00\x0d@setDataFrame"

#: Bytes of a codec header, at most; real ones have some hundreds.
MAX_HEADER = 1 << 20
#: Extra headers that are kept of one stream, at most.
MAX_EXTRAS = 64
_ENHANCED_AAC = b"\x90mp4a"
#: The audio header given to a stream whose source has no sound: AAC-LC, 48 kHz, stereo.
DEFAULT_AUDIO_HEADER = bytes.fromhex("af001190")


def kind_of(message_type: int, payload: bytes) -> Kind:
    """Say what a message is. Never raises, whatever the bytes."""
    if message_type == VIDEO:
        return video_kind(payload)
    if message_type == AUDIO:
        return audio_kind(payload)
    if message_type == DATA and payload:
        return Kind.METADATA if payload.startswith(ON_METADATA) else Kind.SCRIPT
    return Kind.NOTHING


def video_kind(payload: bytes) -> Kind:
    """Say what a video message is."""
    if len(payload) < 2:
        return Kind.NOTHING
    first = payload[0]
    key = Kind.KEYFRAME if first & 0x70 == 0x10 else Kind.FRAME
    if first & 0x80:
        tag = _enhanced(payload, _MULTITRACK)
        if tag is None or (first & 0x70 == _COMMAND_FRAME and tag.packet != _VIDEO_METADATA):
            return Kind.NOTHING
        if tag.packet in (_CODED_FRAMES, _CODED_FRAMES_X):
            return Kind.EXTRA if tag.track else key
        if tag.packet == _VIDEO_METADATA:
            return _header(payload, Kind.EXTRA_HEADER)
        if tag.packet in (_SEQUENCE_START, _TS_SEQUENCE_START):
            return _header(payload, Kind.EXTRA_HEADER if tag.track else Kind.HEADER)
        return Kind.NOTHING
    if first & 0x70 == _COMMAND_FRAME:  # to the player, no picture
        return Kind.NOTHING
    if first & 0x0F in _AVC_LIKE:
        packet = payload[1]
        if len(payload) < 5 or packet > 1:
            return Kind.NOTHING
        return key if packet else _header(payload, Kind.HEADER)
    return key


def audio_kind(payload: bytes) -> Kind:
    """Say what an audio message is."""
    if len(payload) < 2:
        return Kind.NOTHING
    sound_format = payload[0] >> 4
    if sound_format == _AAC:
        if payload[1]:
            return Kind.SOUND
        # FFmpeg sends an empty configuration as long as it does not know it.
        return _header(payload, Kind.HEADER) if len(payload) >= _AAC_HEADER else Kind.NOTHING
    if sound_format == _EXTENDED_AUDIO:
        tag = _enhanced(payload, _MULTITRACK_AUDIO)
        if tag is None:
            return Kind.NOTHING
        if tag.packet == _CODED_FRAMES:
            return Kind.EXTRA if tag.track else Kind.SOUND
        if tag.packet == _MULTICHANNEL_CONFIG:
            return _header(payload, Kind.EXTRA_HEADER)
        if tag.packet == _SEQUENCE_START:
            return _header(payload, Kind.EXTRA_HEADER if tag.track else Kind.HEADER)
        return Kind.NOTHING
    return Kind.SOUND


def _header(payload: bytes, kind: Kind) -> Kind:
    """Headers are kept for as long as a stream lives: none is taken that is far longer than any real one."""
    return kind if len(payload) <= MAX_HEADER else Kind.NOTHING


class _Tag(NamedTuple):
    """The head of an enhanced tag."""

    packet: int
    #: Empty where every track has its own.
    fourcc: bytes
    #: Of several tracks, the first.
    track: int
    #: Where the packet's body begins; None: it has one for each of several tracks.
    body: int | None


def _enhanced(payload: bytes, multitrack: int) -> _Tag | None:
    """Read the head of an enhanced tag, past the modifiers (ModEx) that may precede it; None if it is not all there.

    `multitrack` is the packet type that says so.
    """
    packet, at, size = payload[0] & 0x0F, 1, len(payload)
    while packet == _MODIFIER:
        if at + 3 > size:
            return None
        length, at = payload[at] + 1, at + 1
        if length == 256:
            length, at = int.from_bytes(payload[at : at + 2], "big") + 1, at + 2
        at += length
        if at >= size:
            return None
        packet, at = payload[at] & 0x0F, at + 1
    if packet != multitrack:
        return None if at + 4 > size else _Tag(packet, bytes(payload[at : at + 4]), 0, at + 4)
    if at >= size:
        return None
    packet, how, at = payload[at] & 0x0F, payload[at] >> 4, at + 1
    # The track's number follows its FourCC, wherever that is.
    if at + 5 > size:
        return None
    fourcc = b"" if how == _MANY_CODECS else bytes(payload[at : at + 4])
    return _Tag(packet, fourcc, payload[at + 4], at + 5 if how == _ONE_TRACK else None)


def _is_enhanced(message_type: int, payload: bytes) -> bool:
    return payload[0] >= 0x80 if message_type == VIDEO else payload[0] >> 4 == _EXTENDED_AUDIO


def _tag_of(message_type: int, payload: bytes) -> _Tag | None:
    """Read the head of an enhanced tag; None if it is no enhanced one, or not all there."""
    if not payload or not _is_enhanced(message_type, payload):
        return None
    return _enhanced(payload, _MULTITRACK if message_type == VIDEO else _MULTITRACK_AUDIO)


def track_of(message_type: int, payload: bytes) -> tuple[int, int]:
    """Return (message type, track) of a media message; the first track is 0."""
    tag = _tag_of(message_type, payload)
    return message_type, 0 if tag is None else tag.track


def extra_key(message_type: int, payload: bytes) -> tuple[int, int, int]:
    """Return what an `EXTRA_HEADER` configures: (message type, track, packet type). A later one replaces it."""
    tag = _tag_of(message_type, payload)
    return message_type, 0 if tag is None else tag.track, 0 if tag is None else tag.packet


def composition_time(payload: bytes) -> int:
    """Return PTS minus DTS of a coded video frame in ms; 0 where the layout has none."""
    at = _composition_offset(payload)
    if at is None:
        return 0
    value = int.from_bytes(payload[at : at + 3], "big")
    return value - (1 << 24) if value & 0x800000 else value


def with_composition_time(payload: bytes, cts: int) -> bytes:
    """Return the frame with another composition time (ms); unchanged where the layout has none."""
    at = _composition_offset(payload)
    if at is None:
        return payload
    return payload[:at] + (cts & 0xFFFFFF).to_bytes(3, "big") + payload[at + 3 :]


def _composition_offset(payload: bytes) -> int | None:
    first = payload[0]
    if first & 0x80:
        tag = _enhanced(payload, _MULTITRACK)
        if tag is None or tag.body is None or tag.packet != _CODED_FRAMES or tag.fourcc not in _REORDERED:
            return None
        return tag.body if tag.body + 3 <= len(payload) else None
    return 2 if first & 0x0F in _AVC_LIKE and len(payload) >= 5 else None


def nal_units_at(payload: bytes) -> int | None:
    """Return where the NAL units of an H.264 or HEVC picture begin, or the record in such a header.

    None if it is neither, or holds several tracks.
    """
    if len(payload) < 2 or codec_name(VIDEO, payload) not in _AVC_LIKE.values():
        return None
    if payload[0] < 0x80:
        return 5
    tag = _enhanced(payload, _MULTITRACK)
    if tag is None or tag.body is None:
        return None
    return tag.body + 3 if tag.packet == _CODED_FRAMES else tag.body


def codec_name(message_type: int, payload: bytes) -> str:
    """Return FFmpeg's name of the codec a message belongs to; empty if it cannot be told."""
    if len(payload) < 2:
        return ""
    if _is_enhanced(message_type, payload):
        tag = _tag_of(message_type, payload)
        return "" if tag is None else _FOURCC.get(tag.fourcc, "")
    if message_type == VIDEO:
        return _AVC_LIKE.get(payload[0] & 0x0F) or _OTHER_VIDEO.get(payload[0] & 0x0F, "")
    return _SOUND_FORMATS.get(payload[0] >> 4, "")


def sound_body(payload: bytes) -> bytes:
    """Return the coded sound in an audio message of one track whose codec has no packet types of its own (all but AAC).

    Empty if there is none.
    """
    if not payload or not _is_enhanced(AUDIO, payload):
        return payload[1:]
    tag = _tag_of(AUDIO, payload)
    return b"" if tag is None or tag.body is None or tag.packet != _CODED_FRAMES else payload[tag.body :]


def aac_config(header: bytes) -> tuple[int, int] | None:
    """Return (sample rate in Hz, channels) of an AAC audio header; None if it is not one.

    ISO/IEC 14496-3, AudioSpecificConfig.
    """
    if header[:1] and header[0] >> 4 == _AAC and header[1:2] == b"\x00":
        config = header[2:4]
    elif header.startswith(_ENHANCED_AAC):
        config = header[5:7]
    else:
        return None
    if len(config) < 2:
        return None
    index = (config[0] & 7) << 1 | config[1] >> 7
    if index >= len(_SAMPLE_RATES):
        return None
    return _SAMPLE_RATES[index], config[1] >> 3 & 15
