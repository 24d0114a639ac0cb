"""Proving a user's name and password to an RTMP server, as FFmpeg and librtmp do; nobody has written it down.

A server that wants a login rejects the connection and names its kind (``authmod``). Asked again with the user's name,
it rejects once more, with a challenge; asked with the proof, it consents. What we say stands as a query behind the
application's name. The password is in none of it.
"""

import os
from base64 import b64encode
from hashlib import md5
from urllib.parse import quote, urlsplit

from penstock.errors import MediaError
from penstock.media.authorization import COUNT, MD5, User, response
from penstock.media.rtmp import amf
from penstock.media.rtmp.refusal import description, refusal
from penstock.media.rtmp.session import split_url

#: Adobe's and Limelight's.
_KINDS = ("adobe", "llnw")
_LONGEST_CHALLENGE = 1024
#: What may stand in a user's name as it is; servers do not agree on what else they decode.
_PLAIN = "@!$'()*+,;:/"


class LoginWanted(MediaError):
    """The server wants to know who we are. The message is for URLs that do not say it."""

    def __init__(self, answer: list[amf.Value]) -> None:
        super().__init__(refusal(answer, "a user name and a password are wanted"))
        self.answer = answer


class Login:
    """What the user and password of one URL come to, on the way to one server."""

    def __init__(self, url: str) -> None:
        self._user = User.of(urlsplit(url))
        self._app = split_url(url)[1]
        self._proven = False
        #: What stands behind the application's name the next time we ask.
        self.query = ""

    def take(self, wanted: LoginWanted) -> None:
        """Make `query` from what a server has said. Raise `MediaError` if nothing more can be said to it."""
        user = self._user
        if user is None:
            raise wanted
        words = description(wanted.answer)
        kind = next((kind for kind in _KINDS if f"authmod={kind}" in words), "")
        if not kind:
            raise MediaError(refusal(wanted.answer, "it wants a login of a kind that is not known"))
        reason, _, challenge = words.partition("?reason=")[2].partition(" ")[0].partition("&")
        named = f"?authmod={kind}&user={quote(user.name, safe=_PLAIN)}"
        if self._proven or reason in ("authfailed", "nosuchuser"):
            raise MediaError(refusal(wanted.answer, "the user name or the password is wrong"))
        if reason == "needauth":
            self._proven = True
            values = _values(challenge)
            self.query = named + (_adobe(user, values) if kind == "adobe" else _limelight(user, values, self._app))
        elif self.query:
            raise MediaError(refusal(wanted.answer, "it wants a login, and gives no challenge"))
        else:
            self.query = named


def _adobe(user: User, given: dict[str, str]) -> str:
    """Answer by two MD5 digests, each in base64: of user, salt and password; of that and both sides' challenges."""
    ours = os.urandom(4).hex()
    opaque = given.get("opaque")
    theirs = given.get("challenge", "") if opaque is None else opaque
    secret = _base64(user.name + given.get("salt", "").encode() + user.password)
    proof = _base64(f"{secret}{theirs}{ours}".encode())
    return f"&challenge={ours}&response={proof}" + ("" if opaque is None else f"&opaque={opaque}")


def _limelight(user: User, given: dict[str, str], app: str) -> str:
    """Answer as HTTP's digest does, for what is always called publishing to the application, of a realm ``live``."""
    nonce, ours = given.get("nonce", ""), os.urandom(4).hex()
    where = app if "/" in app else f"{app}/_definst_"
    proof = response(MD5, user, b"live", b"publish", f"/{where}".encode(), nonce.encode(), ours.encode())
    return f"&nonce={nonce}&cnonce={ours}&nc={COUNT.decode()}&response={proof.decode()}"


def _base64(data: bytes) -> str:
    return b64encode(md5(data, usedforsecurity=False).digest()).decode()


def _values(challenge: str) -> dict[str, str]:
    """Read ``name=value&…``, in which nothing is encoded."""
    if len(challenge) > _LONGEST_CHALLENGE:
        raise MediaError(f"the server's challenge is longer than {_LONGEST_CHALLENGE} characters")
    parts = (part.partition("=") for part in challenge.split("&"))
    return {name: value for name, _, value in parts}
