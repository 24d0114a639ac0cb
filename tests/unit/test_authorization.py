"""HTTP's and RTSP's logins, checked against the examples of their RFCs."""

import secrets
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import MediaError
from penstock.media import authorization
from penstock.media.authorization import User, strongest

MUFASA = User(b"Mufasa", b"Circle of Life")


def fields(challenge: bytes, user: User = MUFASA, uri: bytes = b"/dir/index.html") -> dict[bytes, bytes]:
    """What the answer to a digest says."""
    kind, _, proof = authorization.authorization(challenge, user, b"GET", uri).partition(b" ")
    assert kind == b"Digest"
    return {name: value.strip(b'"') for name, _, value in (part.partition(b"=") for part in proof.split(b", "))}


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        (b"MD5", b"8ca523f5e9506fed4657c9700eebdbec"),
        (b"SHA-256", b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_digest_of_rfc_7616(monkeypatch: pytest.MonkeyPatch, algorithm: bytes, response: bytes) -> None:
    """Section 3.9.1."""
    monkeypatch.setattr(secrets, "token_hex", lambda _: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
    challenge = b'Digest realm="http-auth@example.org", qop="auth, auth-int"'
    challenge += b', nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"'
    challenge += b', opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS", algorithm='
    proof = fields(challenge + algorithm)
    assert proof[b"response"] == response
    assert proof[b"opaque"] == b"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
    assert (proof[b"algorithm"], proof[b"qop"], proof[b"nc"]) == (algorithm, b"auth", b"00000001")


def test_digest_without_quality_of_protection() -> None:
    """As cameras ask: RFC 2069, with the example of its errata."""
    challenge = b'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'
    proof = fields(challenge, User(b"Mufasa", b"CircleOfLife"))
    assert proof[b"response"] == b"1949323746fe6a43ef61f9606e7febea"
    assert b"algorithm" not in proof


def test_quotes_stay_quoted() -> None:
    """Whatever stands in a name or in a realm, it ends where it ends."""
    proof = fields(b'Digest realm="a\\"b\\\\c", nonce="n"', User(b'an"n\\', b"p"))
    assert (proof[b"realm"], proof[b"username"]) == (b'a\\"b\\\\c', b'an\\"n\\\\')


def test_what_would_begin_a_header_of_its_own_is_refused() -> None:
    user = User.of(urlsplit("http://ann%0d%0aX-Evil:1:p@h/"))
    assert user is not None
    with pytest.raises(MediaError, match="a control character"):
        fields(b'Digest realm="r", nonce="n"', user)


def test_basic_is_of_the_bytes_that_were_encoded() -> None:
    user = User.of(urlsplit("http://ann:p%40ss%C3%A9@h/"))
    assert user is not None
    assert authorization.authorization(b"basic realm=x", user, b"GET", b"/") == b"Basic YW5uOnBAc3PDqQ=="
    assert User.of(urlsplit("http://h/")) is None


@pytest.mark.parametrize(
    ("challenge", "words"),
    [
        (b"Digest algorithm=MD2", "a digest by MD2"),
        (b"Negotiate", "a kind that is not known"),
        (b"", "a kind that is not known"),
    ],
)
def test_what_is_not_known_says_so(challenge: bytes, words: str) -> None:
    with pytest.raises(MediaError, match=words):
        fields(challenge)


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ([b'Basic realm="x"', b'Digest realm="x"'], b'Digest realm="x"'),
        ([b'Basic realm="x"'], b'Basic realm="x"'),
        ([b'Basic realm="x", Digest realm="y", nonce="z"'], b'Digest realm="y", nonce="z"'),
        ([b"Digest algorithm=SHA-512-256", b"Digest algorithm=sha-256"], b"Digest algorithm=sha-256"),
        ([b"Negotiate", b"Basic realm=x"], b"Basic realm=x"),
        ([b"Digest algorithm=MD2", b"Basic realm=x"], b"Basic realm=x"),
        ([b"Negotiate"], b"Negotiate"),
        ([], b""),
    ],
)
def test_a_digest_that_we_know_is_preferred(offered: list[bytes], taken: bytes) -> None:
    """It does not tell the password."""
    assert strongest(offered) == taken


@given(st.lists(st.binary(max_size=200) | st.from_regex(rb"[Dd]igest( \w+=\"?[^,]*,?){,5}")))
def test_no_challenge_does_harm(offered: list[bytes]) -> None:
    """It is answered in one line, or refused."""
    with suppress(MediaError):
        assert b"\n" not in authorization.authorization(strongest(offered), MUFASA, b"GET", b"/")


def test_long_challenge_is_read_at_once() -> None:
    """Each of its bytes a few times: the quadratic way would take minutes."""
    for filling in (b"a", b"a ", b"a=", b'a="', b", ", b"digest,", b"\\"):
        strongest([b'Digest x="' + filling * (65536 // len(filling))])
