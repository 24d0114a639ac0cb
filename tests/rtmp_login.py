"""The server's side of RTMP logins, written from what FFmpeg and librtmp expect of servers, not from the product."""

import secrets
from base64 import b64encode
from hashlib import md5
from urllib.parse import unquote


def digest(*parts: str) -> str:
    """MD5 of all that stands together, in hexadecimal digits."""
    return md5("".join(parts).encode()).hexdigest()


def digest64(*parts: str) -> str:
    """The same in base64."""
    return b64encode(md5("".join(parts).encode()).digest()).decode()


class Guard:
    """Lets one user in, by Adobe's kind of login (``adobe``, `opaque` or not) or Limelight's (``llnw``)."""

    def __init__(self, kind: str, user: str = "ann", password: str = "p@ss/é", *, opaque: bool = False) -> None:
        self.kind, self.user, self.password, self.opaque = kind, user, password, opaque
        #: Queries that came behind the application's name.
        self.queries: list[str] = []
        self._challenges: set[str] = set()

    def objection(self, app: str, query: str) -> str:
        """Why the client is not let in, as servers put it; empty: it is."""
        self.queries.append(query)
        said = dict(part.split("=", 1) for part in query.split("&") if part)
        authmod = f"authmod={self.kind}"
        if said.get("authmod") != self.kind:
            return f"[ AccessManager.Reject ] : [ code=403 need auth; {authmod} ] : "
        if unquote(said["user"]) != self.user:
            return f"[ AccessManager.Reject ] : [ {authmod} ] : ?reason=nosuchuser&user={said['user']}"
        if "response" not in said:
            return (
                f"[ AccessManager.Reject ] : [ {authmod} ] : ?reason=needauth&user={said['user']}&{self._challenge()}"
            )
        right = self._adobe(said) if self.kind == "adobe" else self._limelight(said, app)
        return "" if right else f"[ AccessManager.Reject ] : [ {authmod} ] : ?reason=authfailed&opaque=-"

    def _challenge(self) -> str:
        salt, challenge = secrets.token_urlsafe(6), b64encode(secrets.token_bytes(6)).decode()
        self._salt = salt
        self._challenges.add(challenge)
        if self.kind == "llnw":
            return f"nonce={challenge}"
        return f"salt={salt}&challenge={challenge}" + (f"&opaque={challenge}" if self.opaque else "")

    def _adobe(self, said: dict[str, str]) -> bool:
        secret = digest64(self.user, self._salt, self.password)
        known = [said["opaque"]] if self.opaque else self._challenges
        known = [challenge for challenge in known if challenge in self._challenges]
        return any(said["response"] == digest64(secret, challenge, said["challenge"]) for challenge in known)

    def _limelight(self, said: dict[str, str], app: str) -> bool:
        secret = digest(f"{self.user}:live:{self.password}")
        what = digest(f"publish:/{app}" + ("" if "/" in app else "/_definst_"))
        if said["nonce"] not in self._challenges:
            return False
        return said["response"] == digest(f"{secret}:{said['nonce']}:{said['nc']}:{said['cnonce']}:auth:{what}")
