"""What a server means when it does not do what it was asked to: no, go elsewhere, or that is over."""

from urllib.parse import urlsplit

from penstock.errors import MediaError
from penstock.media.rtmp import amf

#: What codes say to people. A server that sends one of them refuses, whatever level it gives that.
_MEANINGS = {
    "NetConnection.Connect.Rejected": "",
    "NetConnection.Connect.Failed": "",
    "NetConnection.Connect.InvalidApp": "no such application",
    "NetConnection.Connect.Unauthorized": "not authorized",
    "NetStream.Failed": "",
    "NetStream.Play.Failed": "",
    "NetStream.Play.StreamNotFound": "no such stream",
    "NetStream.Play.Unauthorized": "not authorized",
    "NetStream.Publish.BadName": "the stream name is in use or not allowed",
    "NetStream.Publish.Denied": "not authorized",
    "NetStream.Publish.Unauthorized": "not authorized",
    "NetStream.Publish.Rejected": "not authorized",
}
_LONGEST_WORDS = 300
_LONGEST_URL = 2048


class Redirected(MediaError):
    """The server sends us elsewhere."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url


def info_of(answer: list[amf.Value]) -> dict[str, amf.Value]:
    """Return what a command says of a status; empty if it says nothing."""
    return next((v for v in answer[2:] if isinstance(v, dict) and ("code" in v or "level" in v)), {})


def refuses(answer: list[amf.Value]) -> bool:
    """Whether a command that is no answer to one of ours says no."""
    info = info_of(answer)
    return answer[:1] == ["close"] or info.get("level") == "error" or str(info.get("code")) in _MEANINGS


def description(answer: list[amf.Value]) -> str:
    """Return how the server itself puts it."""
    return str(info_of(answer).get("description") or "")


def wants_login(answer: list[amf.Value]) -> bool:
    """Whether a refusal is about who we are: it names the server's kind of login."""
    return "authmod=" in description(answer)


def refusal(answer: list[amf.Value], meaning: str = "") -> str:
    """Put a server's refusal into words: what it means, its code and description, without what it wants to be told."""
    code = str(info_of(answer).get("code") or "").rstrip(".")
    described = description(answer)
    if wants_login(answer):
        described = described.partition("?reason=")[0].rstrip(" :")
    meaning = meaning or _MEANINGS.get(code, "")
    words = ", ".join(word for word in (code, described.rstrip(".")) if word)
    refused = f"refused by the server, {meaning}" if meaning else "refused by the server"
    return f"{refused}: {words}"[:_LONGEST_WORDS] if words else refused


def redirection(answer: list[amf.Value], url: str) -> str | None:
    """Return the URL that a refusal of `url` sends us to; None if it does not. Raise `MediaError` if that is none.

    Adobe's servers, Wowza and SRS reject the connection with code 302 in ``ex``: ``redirect`` is the new tcUrl, or the
    whole URL; SRS has that in ``redirect2``.
    """
    ex = info_of(answer).get("ex")
    if not isinstance(ex, dict) or ex.get("code") not in (302.0, "302"):
        return None
    where = ex.get("redirect2") or ex.get("redirect")
    name = urlsplit(url).path.rpartition("/")[2]
    try:
        parts = urlsplit(where if isinstance(where, str) else "")
        usable = bool(parts.scheme and parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not isinstance(where, str) or not usable or len(where) > _LONGEST_URL:
        raise MediaError("redirected to what is no URL")
    path = parts.path.rstrip("/")
    whole = bool(ex.get("redirect2")) or path.rpartition("/")[2] == name
    query = "&".join(query for query in (parts.query, "" if parts.query and whole else urlsplit(url).query) if query)
    # User and password go along, as they are: no server is told more by them than it could learn from the first one.
    login, at, _ = urlsplit(url).netloc.rpartition("@")
    netloc = login + at + parts.netloc.rpartition("@")[2]
    path = path if whole else f"{path}/{name}"
    return parts._replace(netloc=netloc, path=path, query=query, fragment="").geturl()


def without_key(text: str, url: str) -> str:
    """Servers quote the stream name, which is a secret, in their refusals: take it out."""
    parts = urlsplit(url)
    app, _, name = parts.path.lstrip("/").rpartition("/")
    for secret in (f"{name}?{parts.query}", name, parts.query):
        if len(secret) > 2 and secret != app:
            text = text.replace(secret, "***")
    return text
