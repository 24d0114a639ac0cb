"""What must never stand in a log."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from penstock import log
from penstock.log import mask_text, mask_url


@pytest.fixture(autouse=True)
def _fresh_logging() -> Iterator[None]:
    """Leaves logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("rtmp://h/app/key", "rtmp://h/app/***"),
        ("rtmp://h:1935/a/b/key/", "rtmp://h:1935/a/b/***"),
        ("rtmps://u:p@h/app/key?txSecret=1&txTime=2", "rtmps://***@h/app/***?txSecret=***&txTime=***"),
        ("RTMP://h/app/key", "RTMP://h/app/***"),
        ("rtmp://h", "rtmp://h"),
        ("srt://h:1?streamid=#!::r=live/key&passphrase=x", "srt://h:1?streamid=***&passphrase=***"),
        ("srt://h:1?streamid=a&passphrase=x", "srt://h:1?streamid=***&passphrase=***"),
        ("http://h/live/stream.flv", "http://h/live/stream.flv"),
        ("https://u@h/x.m3u8?token=a=b&plain&&e=", "https://***@h/x.m3u8?token=***&***&&e="),
        ("http://[::1]:80/x?y=z", "http://[::1]:80/x?y=***"),
        ("http://h?k=v", "http://h?k=***"),
        ("http://a@b@h/x#frag", "http://***@h/x"),
        ("no url at all", "***"),
        ("", ""),
    ],
)
def test_url_keeps_its_place_and_loses_its_secrets(url: str, masked: str) -> None:
    assert masked == mask_url(url)
    assert masked == mask_url(masked)


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("short", "***"),
        ("stream1", "s***1"),
        ("stream2", "s***2"),
        ("news-channel-7", "ne***-7"),
        ("abcd-efgh-ijkl-mnop-qrst", "abc***rst"),
    ],
)
def test_hint_tells_streams_apart_and_leaves_their_keys_unguessed(key: str, shown: str) -> None:
    assert mask_url(f"rtmp://u:p@h/app/{key}?txSecret=1", hint=True) == f"rtmp://***@h/app/{shown}?txSecret=***"


SECRET = st.text("s3cretXYZ", min_size=8, max_size=20).map(lambda text: f"S{text}S")
SCHEME = st.sampled_from(["rtmp", "rtmps", "srt", "RTMP"])


@given(scheme=SCHEME, user=SECRET, key=SECRET, value=SECRET, words=st.text(max_size=10))
def test_no_secret_of_a_url_is_left_in_any_text(scheme: str, user: str, key: str, value: str, words: str) -> None:
    shown = mask_text(f"{words} ({scheme}://u:{user}@host/app/{key}?token={value}), retry 7 in 8 s")
    assert [secret for secret in (user, key, value) if secret in shown] == []
    assert shown.endswith("), retry 7 in 8 s")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (
            "source: connection refused (rtmp://h/app/key), retry",
            "source: connection refused (rtmp://h/app/***), retry",
        ),
        ("denied: /app/s?txSecret=abc&txTime=1", "denied: /app/s?txSecret=***&txTime=1"),
        ('{"SecretKey": "abc", "n": 1}', '{"SecretKey": "***", "n": 1}'),
        ("passphrase: abc", "passphrase: ***"),
        ("no secrets here, 3 tokens left", "no secrets here, 3 tokens left"),
    ],
)
def test_text_is_masked_where_a_secret_stands(text: str, masked: str) -> None:
    assert masked == mask_text(text)
    assert masked == mask_text(masked)


def speak() -> None:
    """One line of each kind, each with a secret."""
    line = structlog.get_logger()
    line.info("opened rtmp://h/app/s3cret", url="rtmp://h/app/s3cret", secret_key="s3cret", n=3)
    line.warning("nested", data={"password": "s3cret", "urls": ["rtmp://h/app/s3cret"]})
    try:
        raise ValueError("rtmp://h/app/s3cret")
    except ValueError:
        line.exception("failed")
    logging.getLogger("library").warning("token=%s", "s3cret")
    logging.getLogger("library").info("chatter")
    line.debug("detail")


def test_json_lines_are_objects_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup(style="json", process="worker")
    speak()
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in err.splitlines()]
    assert (out, [line["level"] for line in lines]) == ("", ["info", "warning", "error", "warning"])
    assert {"worker"} == {line["process"] for line in lines}
    assert (lines[0]["n"], lines[0]["secret_key"], lines[0]["url"]) == (3, "***", "rtmp://h/app/***")
    assert lines[3]["logger"] == "library"
    assert "s3cret" not in err


def test_text_lines_are_key_and_value_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup(process="api")
    speak()
    err = capsys.readouterr().err
    assert 'level=info process=api event="opened rtmp://h/app/***" url=rtmp://h/app/***' in err
    assert "s3cret" not in err


def test_level_is_the_least_that_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup(level="error")
    speak()
    assert capsys.readouterr().err.count("\n") == 1


def test_log_that_cannot_be_written_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def isatty(self) -> bool:
            return False

    log.setup()
    monkeypatch.setattr("sys.stderr", Gone())
    speak()
