"""Only a URL without surprises is accepted, and no complaint repeats it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.tasks.addresses import MAX_URL, check_stream, split_host, split_url


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("rtmp://host/app/stream", "host", None),
        ("RTMP://Host.Example:1936/app/stream?k=v&w=%20", "host.example", 1936),
        ("rtmp://127.0.0.1:1/a/b", "127.0.0.1", 1),
        ("rtmp://[::1]:65535/a/b", "::1", 65535),
        ("rtmp://5000.liveplay.my_qcloud.com./live/stream1", "5000.liveplay.my_qcloud.com.", None),
        ("rtmp://xn--bcher-kva.example/a/b", "xn--bcher-kva.example", None),
        ("rtmp://host/app/" + "k" * (MAX_URL - 16), "host", None),
    ],
)
def test_good_url_is_taken_apart(url: str, host: str, port: int | None) -> None:
    parts = split_url(url, {"rtmp"})
    assert (parts.hostname, parts.port) == (host, port)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "empty"),
        ("rtmp://host/app/" + "k" * (MAX_URL - 15), "longer than 2048"),
        ("rtmp://host/a/b\n", "character"),
        ("rtmp://host/a/b c", "character"),
        ("rtmp://host/a/\x00b", "character"),
        ("rtmp://host/a/\ud800", "character"),
        ("rtmp://host/a/\u202eb", "character"),
        ("rtmp://host\\@evil/a/b", "character"),
        ("rtmp:///a/b", "names no host"),
        ("rtmp://:1935/a/b", "names no host"),
        ("rtmp:host/a/b", "names no host"),
        ("host/a/b", "protocol"),
        ("//host/a/b", "protocol"),
        ("file:///etc/passwd", "protocol"),
        ("gopher://host/a", "protocol"),
        ("rtmp://host:0/a/b", "port"),
        ("rtmp://host:/a/b", "port"),
        ("rtmp://host:65536/a/b", "port"),
        ("rtmp://host:12x/a/b", "port"),
        ("rtmp://[::1/a/b", "host or port"),
        ("rtmp://[fe80::1%25eth0]/a/b", "IPv6"),
        ("rtmp://[1:2]/a/b", "host"),
        ("rtmp://ho st/a/b", "character"),
        ("rtmp://ho%73t/a/b", "letters"),
        ("rtmp://b\u00fccher.example/a/b", "letters"),
        ("rtmp://a..b/a/b", "letters"),
        ("rtmp://-a/a/b", "letters"),
        ("rtmp://" + "a" * 64 + "/a/b", "letters"),
        ("rtmp://" + ".".join(["a" * 60] * 5) + "/a/b", "letters"),
        ("rtmp://host/a/b#c", "fragment"),
    ],
)
def test_bad_url_is_refused_with_its_reason(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refusal:
        split_url(url, {"rtmp"})
    assert not url or url not in str(refusal.value)


@given(st.text(max_size=60))
def test_no_text_does_worse_than_be_refused(text: str) -> None:
    for url in (text, f"rtmp://{text}", f"rtmp://host/{text}", f"rtmp://[{text}]/a/b"):
        try:
            parts = split_url(url, {"rtmp"})
        except ValueError:
            continue
        assert parts.hostname


@pytest.mark.parametrize("path", ["", "/", "/app", "/app/", "//stream", "/a/b/"])
def test_rtmp_url_without_application_or_stream_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="application and a stream"):
        check_stream(split_url(f"rtmp://host{path}", {"rtmp"}))


def test_application_may_hold_a_slash() -> None:
    check_stream(split_url("rtmp://host/app/instance/stream", {"rtmp"}))


@pytest.mark.parametrize(("text", "parts"), [("a.b", ("a.b", None)), ("[::1]:80", ("::1", 80))])
def test_host_and_port_are_taken_apart(text: str, parts: tuple[str, int | None]) -> None:
    assert split_host(text) == parts


@pytest.mark.parametrize("text", ["", "a/b", "a?b", "a#b", "u@a", "u:p@a", "a:", "a:0", "a b", ":80"])
def test_what_is_not_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        split_host(text)
