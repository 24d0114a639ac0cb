"""What an SRT URL says: ``srt://HOST:PORT?streamid=…&passphrase=…&latency=…``. Pure; nothing is connected here.

The parameters are those that FFmpeg, OBS and the clouds' documents have in common.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

#: Bytes, as SRT has them (draft-sharabayko-srt, sections 3.2.1.3 and 6.1).
MAX_STREAM_ID = 512
PASSPHRASE = range(10, 80)
_KEY_LENGTHS = ("0", "16", "24", "32")
#: Milliseconds; what is longer was meant in microseconds, as FFmpeg and OBS write it.
_MAX_LATENCY = 10_000
_LATENCIES = frozenset({"latency", "rcvlatency", "peerlatency"})
#: The one way in which we speak it: we call, and send or receive live.
_FIXED = {"mode": "caller", "transtype": "live"}
_SERVED = frozenset({"streamid", "passphrase", "pbkeylen", *_LATENCIES, *_FIXED})
#: What libsrt says, before FFmpeg's own words, of why a peer has turned us down.
_REJECTED = re.compile(r"REJECT reported from HS processing: (.+?) - not processing further")


class SrtUrl(NamedTuple):
    """A peer and how to call it."""

    host: str
    port: int
    #: FFmpeg's options by name.
    options: Mapping[str, str]
    #: Of these, those that are secret.
    secret: Mapping[str, str]


def parse(url: str) -> SrtUrl:
    """Take a URL apart. Raise `ValueError` with a sentence about what is wrong; it never repeats the URL."""
    parts = urlsplit(url.replace("#", "%23"))  # as in streamid=#!::r=live/stream
    if parts.port is None:
        raise ValueError("it names no port, and SRT has no usual one")
    if parts.username is not None or parts.path not in ("", "/"):
        raise ValueError("SRT knows no user and no path; the stream is named by streamid")
    given = parse_qsl(parts.query, keep_blank_values=True)
    values = dict(given)
    if len(values) < len(given):
        raise ValueError("a parameter is given twice")
    if unknown := sorted(values.keys() - _SERVED):
        raise ValueError(f"its parameter {unknown[0][:40]} is not served for SRT")
    for name, only in _FIXED.items():
        if values.get(name, only) != only:
            raise ValueError(f"its {name} can only be {only}")
    options = {name: _latency(name, values[name]) for name in sorted(_LATENCIES & values.keys())}
    if values.get("pbkeylen", "0") not in _KEY_LENGTHS:
        raise ValueError(f"its pbkeylen is none of {', '.join(_KEY_LENGTHS)}")
    if values.get("pbkeylen", "0") != "0":
        options["pbkeylen"] = values["pbkeylen"]
    return SrtUrl(parts.hostname or "", parts.port, options, _secrets(values))


def explain(reason: str) -> str:
    """What FFmpeg's and libsrt's last line means, in a user's words."""
    if rejected := _REJECTED.search(reason):
        return f"the SRT peer refuses: {rejected[1].lower()}"
    if "Connection to srt://" in reason:
        return "nobody answers by SRT at this address and port (UDP)"
    if "Connection timed out" in reason:
        return "the SRT peer is connected, but silent"
    if "Input/output error" in reason:
        return "the SRT peer has ended the connection, or is gone"
    return reason


def _latency(name: str, value: str) -> str:
    """Microseconds."""
    if not (value.isascii() and value.isdecimal() and len(value) < 9):
        raise ValueError(f"its {name} is not a number of milliseconds")
    number = int(value)
    return str(number * 1000 if number <= _MAX_LATENCY else min(number, _MAX_LATENCY * 1000))


def _secrets(values: Mapping[str, str]) -> Mapping[str, str]:
    stream_id, passphrase = values.get("streamid", ""), values.get("passphrase", "")
    if not (stream_id + passphrase).isprintable():
        raise ValueError("its streamid or passphrase holds a special character")
    if len(stream_id.encode()) > MAX_STREAM_ID:
        raise ValueError(f"its streamid is longer than {MAX_STREAM_ID} bytes")
    if passphrase and len(passphrase.encode()) not in PASSPHRASE:
        raise ValueError(f"its passphrase has not {PASSPHRASE.start} to {PASSPHRASE.stop - 1} characters")
    # FFmpeg has another option of the name streamid.
    named = {"srt_streamid": stream_id, "passphrase": passphrase}
    return {name: value for name, value in named.items() if value}
