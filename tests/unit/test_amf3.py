"""AMF3 inside AMF0: what another encoder writes is read, references too, and none of them is a trap."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.media.rtmp import amf
from tests import rtmp_wire
from tests.rtmp_wire import amf3, amf3_text

TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
NUMBERS = st.integers(-(2**28), 2**28 - 1) | st.floats(allow_nan=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS.filter(bool), inner, max_size=4),
    max_leaves=20,
)
SWITCH = b"\x11"


@given(st.lists(VALUES, max_size=4))
def test_what_another_encoder_writes_is_read(values: list[Any]) -> None:
    """Every value that both know, after AMF0 and before it."""
    data = rtmp_wire.amf("_result") + b"".join(SWITCH + amf3(value) for value in values) + rtmp_wire.amf(7)
    assert amf.decode(data) == ["_result", *values, 7]


#: What: (bytes behind the switch, value).
FORMS: dict[str, tuple[bytes, amf.Value]] = {
    "undefined": (b"\0", None),
    "smallest integer": (b"\4\xc0\x80\x80\0", -(2.0**28)),
    "integer -1": (b"\4\xff\xff\xff\xff", -1.0),
    "date": (b"\x08\1" + bytes(8), 0.0),
    "xml": (b"\x0b\7<a>", "<a>"),
    "bytes": (b"\x0c\7\xffab", "\ufffdab"),
    "string again": (b"\x09\5\1\6\3a\6\0", ["a", "a"]),
    "empty strings are never referred to": (b"\x09\7\1\6\1\6\3a\6\0", ["", "a", "a"]),
    "array with names": (b"\x09\3\3k\3\1\2", {"k": True, "0": False}),
    "class with members": (b"\x0a\x23" + b"".join(map(amf3_text, ["C", "x", "y"])) + b"\2\3", {"x": False, "y": True}),
    "class again": (
        b"\x09\5\1" + b"\x0a\x13" + b"".join(map(amf3_text, ["C", "x"])) + b"\4\1" + b"\x0a\1\4\2",
        [{"x": 1.0}, {"x": 2.0}],
    ),
    "object again": (b"\x09\5\1" + b"\x0a\x0b\1\3a\3\1" + b"\x0a\2", [{"a": True}, {"a": True}]),
    "integers": (b"\x0d\5\0\0\0\0\1\xff\xff\xff\xff", [1.0, -1.0]),
    "unsigned integers": (b"\x0e\3\0\xff\xff\xff\xff", [4294967295.0]),
    "doubles": (b"\x0f\3\0" + bytes(8), [0.0]),
    "vector of objects": (b"\x10\3\0\1\6\3a", ["a"]),
    "dictionary": (b"\x11\3\0\4\1\3", {"1.0": True}),
}


@pytest.mark.parametrize("what", FORMS)
def test_every_form_of_the_specification_is_read(what: str) -> None:
    """Also those that no encoder of ours writes."""
    data, value = FORMS[what]
    assert amf.decode(SWITCH + data) == [value]


#: What: (bytes behind the switch, words).
MALFORMED = {
    "no such type": (b"\x12", "no type 18"),
    "string that was not there": (b"\6\2", "nowhere"),
    "object that was not there": (b"\x0a\2", "nowhere"),
    "class that was not there": (b"\x0a\1", "nowhere"),
    "array in itself": (b"\x09\3\1\x09\0", "contains itself"),
    "class with a format": (b"\x0a\7\3C", "format of its own"),
    "half a string": (b"\6\xff\xff\xff\xff", "ends in the middle"),
    "half an array": (b"\x09\xff\xff\xff\xff\1", "ends in the middle"),
    "vector of millions": (b"\x0d\xff\xff\xff\xff\0", "too many values"),
    "class of millions": (b"\x0a\xff\xff\xff\xfb\1", "too many values"),
    "bottomless": (b"\x09\3\1" * 100_000, "nested"),
    "nothing": (b"", "ends in the middle"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_cannot_be_read_is_an_amf_error(what: str) -> None:
    """With a reason, and at once."""
    data, words = MALFORMED[what]
    with pytest.raises(amf.AmfError, match=words):
        amf.decode(SWITCH + data)


def arrays(count: int) -> bytes:
    """An array of arrays, each but the first with the one before ten times, by reference."""
    items = [b"\x09\3\1\2", *(b"\x09\x15\1" + (b"\x09" + bytes([before << 1])) * 10 for before in range(1, count))]
    return b"\x09" + bytes([count << 1 | 1]) + b"\1" + b"".join(items)


def test_references_cannot_blow_a_value_up() -> None:
    """Ten arrays of ten are ten thousand million values in a few hundred bytes."""
    assert amf.decode(SWITCH + arrays(2)) == [[[False], [[False]] * 10]]
    with pytest.raises(amf.AmfError, match="too many values"):
        amf.decode(SWITCH + arrays(10))


def test_a_long_text_is_not_repeated_without_end() -> None:
    """Thousands of references to one of a hundred thousand bytes."""
    data = b"\x09" + bytes([0xBF, 0x01]) + b"\1" + amf3("x" * 100_000) + b"\6\0" * 4000
    with pytest.raises(amf.AmfError, match="too many"):
        amf.decode(SWITCH + data)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_an_amf_error(data: bytes) -> None:
    """Nothing else is ever raised."""
    try:
        amf.decode(SWITCH + data)
    except amf.AmfError:
        return
