"""Parameter sets of H.264 and HEVC, which say how pictures are coded: out of a codec header, and into a keyframe.

FFmpeg copies a stream whose header changes, but keeps to the first header where it writes RTSP, or HEVC in MPEG-TS:
what follows cannot be decoded. With the parameter sets in each keyframe it can, also by viewers who join later.
"""

from collections.abc import Iterator

from penstock.media.packet import VIDEO, codec_name, nal_units_at

#: HEVC's parameter sets (VPS, SPS, PPS) among the NAL units that a header may hold (ITU-T H.265, table 7-1).
_HEVC_SETS = (32, 33, 34)


def parameter_sets(header: bytes) -> bytes:
    """Return the parameter sets in a video header as the NAL units of its stream, each after its length.

    The header is an AVCDecoderConfigurationRecord or its like of HEVC (ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1). Empty if
    it is of another codec, or broken off.
    """
    codec, at = codec_name(VIDEO, header), nal_units_at(header)
    if at is None:
        return b""
    record = header[at:]
    try:
        if codec == "h264":
            size, units = record[4], list(_avc_units(record))
        else:
            size, units = record[21], list(_hevc_units(record))
    except IndexError:
        return b""
    length = (size & 3) + 1
    return b"".join(len(unit).to_bytes(length, "big") + unit for unit in units if len(unit) < 1 << 8 * length)


def with_parameter_sets(picture: bytes, sets: bytes) -> bytes:
    """Return a coded picture with these parameter sets before its own NAL units."""
    at = nal_units_at(picture)
    return picture if at is None else picture[:at] + sets + picture[at:]


def _avc_units(record: bytes) -> Iterator[bytes]:
    at = 5
    for mask in (0x1F, 0xFF):  # the sequence's, then the pictures'
        count, at = record[at] & mask, at + 1
        for _ in range(count):
            unit, at = _unit(record, at)
            yield unit


def _hevc_units(record: bytes) -> Iterator[bytes]:
    at = 23
    for _ in range(record[22]):
        type_, count, at = record[at] & 0x3F, int.from_bytes(record[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            unit, at = _unit(record, at)
            if type_ in _HEVC_SETS:
                yield unit


def _unit(record: bytes, at: int) -> tuple[bytes, int]:
    """Return the NAL unit at `at`, and where the next one begins. Raise `IndexError` if it is not all there."""
    end = at + 2 + int.from_bytes(record[at : at + 2], "big")
    if end == at + 2 or end > len(record):
        raise IndexError
    return record[at + 2 : end], end
