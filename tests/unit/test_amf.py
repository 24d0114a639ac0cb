"""AMF0: what is written is read back by another reader, what is malformed is refused."""

import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.media.rtmp import amf
from tests import rtmp_wire

TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS.filter(bool), inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(VALUES, max_size=5))
def test_what_we_encode_another_decoder_reads(values: list[amf.Value]) -> None:
    """Every value that Python and AMF0 share survives our encoder."""
    assert rtmp_wire.read_amf(amf.encode(*values)) == values


@given(st.lists(VALUES, max_size=5))
@example(["x" * 70_000])
def test_we_decode_what_another_encoder_writes(values: list[amf.Value]) -> None:
    """Every value that Python and AMF0 share survives our decoder, long strings too."""
    assert amf.decode(rtmp_wire.amf(*values)) == values


def test_a_string_of_65536_bytes_is_written_as_a_long_string() -> None:
    """The short form has 16 bits for the length, which count bytes and not characters."""
    text = "é" * 32768
    assert rtmp_wire.read_amf(amf.encode(text)) == [text]


@pytest.mark.parametrize(
    ("data", "values"),
    [
        ("08 ffffffff 0001 61 0500 0009", [{"a": None}]),
        ("03 0001 61 0101", [{"a": True}]),
        ("10 0003 466f6f 0001 61 0101 000009", [{"a": True}]),
        ("0b 0000000000000000 0000", [0.0]),
        ("0f 00000002 3c2f", ["</"]),
        ("06 0d", [None, None]),
        ("02 0002 c328", ["\ufffd("]),
        ("", []),
    ],
    ids=["wrong array length", "no end marker", "typed object", "date", "xml", "undefined", "bad utf-8", "nothing"],
)
def test_what_encoders_in_the_field_send_is_read(data: str, values: list[amf.Value]) -> None:
    """An array's length may be wrong, the last end marker missing, a text no UTF-8."""
    assert amf.decode(bytes.fromhex(data)) == values


@pytest.mark.parametrize("data", ["00 0000", "02 0005 61", "03 0001", "0a 00000002 05", "07 0000", "11", "ff"])
def test_malformed_data_is_an_amf_error(data: str) -> None:
    """Data that ends inside a value, and types that AMF0 does not have."""
    with pytest.raises(amf.AmfError):
        amf.decode(bytes.fromhex(data))


def test_deep_nesting_is_refused_before_it_can_hurt() -> None:
    """A hundred thousand objects inside each other are an error, not a full stack."""
    with pytest.raises(amf.AmfError, match="nested"):
        amf.decode(b"\x03\x00\x01a" * 100_000)


def test_an_array_that_promises_billions_of_values_costs_nothing() -> None:
    """The announced length of a strict array is no promise to make room."""
    with pytest.raises(amf.AmfError):
        amf.decode(b"\x0a\xff\xff\xff\xff" + b"\x05" * 10_000)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_an_amf_error(data: bytes) -> None:
    """Nothing else is ever raised."""
    try:
        amf.decode(data)
    except amf.AmfError:
        return


def test_mutated_commands_decode_or_are_an_amf_error() -> None:
    """Nothing else is raised by real commands with a few bytes changed; not a number is a number, too."""
    rng = random.Random(1)
    offer = {"app": "live", "tcUrl": "rtmp://h/live", "fpad": False, "capabilities": 15.0, "list": [1, {"a": None}]}
    whole = rtmp_wire.amf("connect", 1, offer, [math.pi, "x" * 100])
    for _ in range(5_000):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            amf.decode(bytes(data[: rng.randint(0, len(data))] if rng.random() < 0.2 else data))
        except amf.AmfError:
            continue
