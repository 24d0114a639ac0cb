"""The server's side of HTTP's digest (RFC 7616), not from the product; curl is let in by it, too."""

import hashlib
import re
import secrets

_FIELD = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^,\s]+))')


class DigestGuard:
    """Lets one user in, once with each nonce. `algorithm` as it stands in challenges; `qop` empty: as in RFC 2069."""

    def __init__(self, algorithm: str = "MD5", qop: str = "auth", user: str = "ann", password: str = "p@ss: é") -> None:
        self.user, self.password = user, password
        self._algorithm, self._qop = algorithm, qop
        self._hash = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]
        self._nonces: set[str] = set()

    def challenge(self) -> str:
        """The value of ``WWW-Authenticate``."""
        nonce = secrets.token_hex(12)
        self._nonces.add(nonce)
        qop = f'qop="{self._qop}", ' if self._qop else ""
        return f'Digest realm="a \\"b\\", c", {qop}nonce="{nonce}", opaque="=o=", algorithm={self._algorithm}'

    def admits(self, head: str) -> bool:
        """Whether a request proves who sends it."""
        method, uri, _ = head.split(" ", 2)
        line = next((line for line in head.split("\r\n") if line.lower().startswith("authorization: digest ")), "")
        said = {name: re.sub(r"\\(.)", r"\1", quoted) or bare for name, quoted, bare in _FIELD.findall(line)}
        if said.get("nonce") not in self._nonces or said.get("uri") != uri or said.get("opaque") != "=o=":
            return False
        self._nonces.remove(said["nonce"])
        between = [said["nonce"], said["nc"], said["cnonce"], said["qop"]] if self._qop else [said["nonce"]]
        secret = self._of(said["username"], 'a "b", c', self.password)
        return said["username"] == self.user and said["response"] == self._of(secret, *between, self._of(method, uri))

    def _of(self, *parts: str) -> str:
        return self._hash(":".join(parts).encode()).hexdigest()
