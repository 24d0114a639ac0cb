"""Silence, codec by codec: what keeps the sound of a destination going while its source has none to give.

AC-3, FLAC and the codecs of old are left out: nobody has a frame of theirs at hand.
"""

from typing import NamedTuple

from penstock.media.packet import AUDIO, aac_config, codec_name, sound_body


class Silence(NamedTuple):
    """A sound message that decodes to zeros."""

    message: bytes
    #: How long it lasts, in ms.
    duration: float


#: One AAC-LC frame of digital silence (1024 samples) by channel count; decodes to -inf dB at 44.1 and 48 kHz.
SILENT_AAC = {1: bytes.fromhex("00c800802380"), 2: bytes.fromhex("210049900219002380")}
_AAC_SAMPLES = 1024

#: 20 ms of CELT at full band, mono and stereo (the first byte), whose silence flag is set (RFC 6716, section 4.3).
_OPUS_MONO, _OPUS_STEREO = b"\xf8", b"\xfc"
_SILENT_OPUS = b"\xff\xfe"
_OPUS_DURATION = 20.0
#: Durations of an Opus frame in ms, by mode (RFC 6716, section 3.1).
_SILK, _HYBRID, _CELT = (10.0, 20.0, 40.0, 60.0), (10.0, 20.0), (2.5, 5.0, 10.0, 20.0)
_LONGEST_OPUS = 120.0
_OPUS_HEAD = 19

#: Bit rates in kbit/s of MPEG-1 layer III, and of MPEG-2's; sample rates in Hz of MPEG-1.
_MP3_BIT_RATES = (
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_MP3_RATES = (44100, 48000, 32000)
#: By how much MPEG-2.5 and MPEG-2 divide them, by the bits of the version; 1 is reserved.
_MP3_HALVINGS = {0: 2, 2: 1, 3: 0}

#: Samples per ms of G.711, and its zero, by codec.
_G711_RATE = 8
_G711_SILENCE = {"pcm_alaw": b"\xd5", "pcm_mulaw": b"\xff"}
_G711_DURATION = 20


def silence(told: bytes) -> Silence | None:
    """Return silence for receivers that were told of their codec by `told`; None if there is none of its kind.

    That is a header, or of a codec that has none, any of its media. Never raises, whatever the bytes.
    """
    codec = codec_name(AUDIO, told)
    if codec == "aac":
        return _silent_aac(told)
    if codec == "opus":
        return _silent_opus(told)
    if codec == "mp3":
        return _silent_mp3(told)
    if codec in _G711_SILENCE:
        samples = _G711_RATE * _G711_DURATION * _g711_channels(told)
        return Silence(told[:1] + _G711_SILENCE[codec] * samples, _G711_DURATION)
    return None


def duration(payload: bytes) -> float | None:
    """Return how long a sound message lasts, in ms; None if it does not say so itself.

    Of AAC the header says it, for all that follow. Never raises, whatever the bytes.
    """
    codec = codec_name(AUDIO, payload)
    if codec == "aac":
        config = aac_config(payload)
        return None if config is None else _AAC_SAMPLES * 1000 / config[0]
    if codec == "opus":
        return _opus_duration(sound_body(payload))
    if codec == "mp3":
        return _mp3_duration(sound_body(payload))
    if codec in _G711_SILENCE:
        return (len(payload) - 1) / _g711_channels(payload) / _G711_RATE
    return None


def _silent_aac(header: bytes) -> Silence | None:
    config, lasts = aac_config(header), duration(header)
    frame = None if config is None else SILENT_AAC.get(config[1])
    if frame is None or lasts is None:
        return None
    return Silence((header[:1] + b"\x01" if header[0] >> 4 == 10 else b"\x91mp4a") + frame, lasts)


def _silent_opus(header: bytes) -> Silence | None:
    """For an OpusHead (RFC 7845, section 5.1): one packet for each of its streams, the stereo ones first."""
    head = header.removeprefix(b"\x90Opus")
    if not head.startswith(b"OpusHead") or len(head) < _OPUS_HEAD or (head[18] and len(head) < _OPUS_HEAD + 2):
        return None
    channels, family = head[9], head[18]
    streams, coupled = head[19:21] if family else (1, channels - 1)
    if not 0 <= coupled <= streams or not streams or streams + coupled > 255 or not channels:
        return None
    kinds = [_OPUS_STEREO] * coupled + [_OPUS_MONO] * (streams - coupled)
    # All but the last say how long they are (RFC 6716, appendix B).
    size = bytes((len(_SILENT_OPUS),))
    delimited = b"".join(kind + size + _SILENT_OPUS for kind in kinds[:-1])
    return Silence(b"\x91Opus" + delimited + kinds[-1] + _SILENT_OPUS, _OPUS_DURATION)


def _opus_duration(packet: bytes) -> float | None:
    if len(packet) < 2:
        return None
    mode, how = packet[0] >> 3, packet[0] & 3
    frame = _SILK[mode & 3] if mode < 12 else _HYBRID[mode & 1] if mode < 16 else _CELT[mode & 3]
    lasts = frame * (packet[1] & 0x3F if how == 3 else 2 if how else 1)
    return lasts if 0 < lasts <= _LONGEST_OPUS else None


class _Mp3(NamedTuple):
    """An MPEG audio frame of layer III."""

    #: Bytes, its header among them.
    size: int
    #: In ms.
    duration: float

    @classmethod
    def at(cls, data: bytes, at: int = 0) -> "_Mp3 | None":
        """The frame whose header (ISO/IEC 11172-3, 13818-3) lies there; None if none does."""
        head = data[at : at + 4]
        if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
            return None
        version, bit_rate, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
        if version not in _MP3_HALVINGS or not 0 < bit_rate < 15 or rate == 3:
            return None
        halvings = _MP3_HALVINGS[version]
        samples, hz = 576 if halvings else 1152, _MP3_RATES[rate] >> halvings
        kbits = _MP3_BIT_RATES[halvings > 0][bit_rate - 1]
        return cls(samples // 8 * kbits * 1000 // hz + (head[2] >> 1 & 1), samples * 1000 / hz)


def _silent_mp3(told: bytes) -> Silence | None:
    """A frame like the one that was sent, without check sum and padding, whose granules have no bits."""
    body = sound_body(told)
    at = len(told) - len(body)
    head = bytes((body[0], body[1] | 1, body[2] & ~2, body[3])) if len(body) > 3 else b""
    frame = _Mp3.at(head)
    return None if frame is None else Silence(told[:at] + head.ljust(frame.size, b"\0"), frame.duration)


def _mp3_duration(body: bytes) -> float | None:
    lasts, at = 0.0, 0
    while frame := _Mp3.at(body, at):
        lasts, at = lasts + frame.duration, at + frame.size
    return lasts or None


def _g711_channels(payload: bytes) -> int:
    return 1 + (payload[0] & 1)
