"""Audio and video messages as RTMP and FLV carry them: what a payload is, without decoding it.

Layouts: Adobe FLV 10.1 annex E, and the Enhanced RTMP v2 specification (veovera.org) for FourCC codecs.
"""

from enum import IntEnum

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
_EXTENDED_AUDIO = 9
_AAC = 10

# Packet types of enhanced video and audio tags.
_SEQUENCE_START, _CODED_FRAMES, _CODED_FRAMES_X, _TS_SEQUENCE_START, _MULTITRACK = 0, 1, 3, 5, 6
_MULTITRACK_AUDIO = 5

_SAMPLE_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)

#: How script data begins (AMF0 strings); an encoder that publishes puts the second before the first.
ON_METADATA = b"\x02\x00\x0aonMetaData"
SET_DATA_FRAME = b"\x02\x00\x0d@setDataFrame"

#: One AAC-LC frame of digital silence (1024 samples) by channel count; decodes to -inf dB at 44.1 and 48 kHz.
SILENT_AAC = {1: bytes.fromhex("00c800802380"), 2: bytes.fromhex("210049900219002380")}
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
    if first & 0x70 == 0x50:  # a command to the player, no picture
        return Kind.NOTHING
    key = Kind.KEYFRAME if first & 0x70 == 0x10 else Kind.FRAME
    if first & 0x80:
        packet = first & 0x0F
        if packet == _MULTITRACK:
            if len(payload) < 7:
                return Kind.NOTHING
            packet = payload[1] & 0x0F
        if packet in (_CODED_FRAMES, _CODED_FRAMES_X):
            return key
        return Kind.HEADER if packet in (_SEQUENCE_START, _TS_SEQUENCE_START) else Kind.NOTHING
    if first & 0x0F in _AVC_LIKE:
        packet = payload[1]
        if len(payload) < 5 or packet > 1:
            return Kind.NOTHING
        return key if packet else Kind.HEADER
    return key


def audio_kind(payload: bytes) -> Kind:
    """Say what an audio message is."""
    if len(payload) < 2:
        return Kind.NOTHING
    sound_format = payload[0] >> 4
    if sound_format == _AAC:
        return Kind.SOUND if payload[1] else Kind.HEADER
    if sound_format == _EXTENDED_AUDIO:
        packet = payload[0] & 0x0F
        if packet == _MULTITRACK_AUDIO:
            if len(payload) < 7:
                return Kind.NOTHING
            packet = payload[1] & 0x0F
        return {0: Kind.HEADER, 1: Kind.SOUND}.get(packet, Kind.NOTHING)
    return Kind.SOUND


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
        has_time = first & 0x0F == _CODED_FRAMES and payload[1:5] in (b"avc1", b"hvc1", b"vvc1")
        return 5 if has_time and len(payload) >= 8 else None
    return 2 if first & 0x0F in _AVC_LIKE and len(payload) >= 5 else None


def codec_name(message_type: int, payload: bytes) -> str:
    """Return FFmpeg's name of the codec a message belongs to; empty if it cannot be told."""
    if len(payload) < 2:
        return ""
    first = payload[0]
    if message_type == VIDEO:
        if first & 0x80:
            return _fourcc(payload, multitrack=first & 0x0F == _MULTITRACK)
        return _AVC_LIKE.get(first & 0x0F) or _OTHER_VIDEO.get(first & 0x0F, "")
    if first >> 4 == _EXTENDED_AUDIO:
        return _fourcc(payload, multitrack=first & 0x0F == _MULTITRACK_AUDIO)
    return _SOUND_FORMATS.get(first >> 4, "")


def _fourcc(payload: bytes, *, multitrack: bool) -> str:
    at = 2 if multitrack else 1
    return _FOURCC.get(bytes(payload[at : at + 4]), "")


def aac_config(header: bytes) -> tuple[int, int] | None:
    """Return (sample rate in Hz, channels) of an AAC audio header; None if it is not one.

    ISO/IEC 14496-3, AudioSpecificConfig.
    """
    if len(header) < 4 or header[0] >> 4 != _AAC or header[1] != 0:
        return None
    index = (header[2] & 7) << 1 | header[3] >> 7
    if index >= len(_SAMPLE_RATES):
        return None
    return _SAMPLE_RATES[index], header[3] >> 3 & 15
