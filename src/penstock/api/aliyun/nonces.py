"""Which nonces have been used: in memory, and in a file, so that no restart forgets them.

The file outlives this process however it ends. When the machine itself loses power, the last seconds' may be lost.
"""

import os
import struct
import threading
from hashlib import blake2b
from pathlib import Path
from typing import Final

import structlog

from penstock.api.aliyun import codes
from penstock.api.aliyun.signature import WINDOW

log = structlog.get_logger()

#: Until when (Unix ms) which key's which nonce is used; of the latter two, digests.
_RECORD = struct.Struct(">Q8s16s")
#: After so many records it is looked whether the file should be written anew.
_SLACK = 4096


class Nonces:
    """Which nonces each key has used, for as long as their calls could be sent again. Safe in threads."""

    #: Nonces of one key: more than its rates allow in that time. Of more the oldest are forgotten.
    MOST: Final = 200_000

    def __init__(self, file: Path, now: int) -> None:
        """`file`: where they are kept; made, if it is not there. `now` in Unix ms."""
        self._file = file
        self._lock = threading.Lock()
        self._until: dict[bytes, dict[bytes, int]] = {}
        #: Where records are appended; None: the file cannot be written.
        self._descriptor: int | None = None
        self._records = 0
        with self._lock:
            self._read()
            self._write_anew(now)

    def use(self, access_key_id: str, nonce: str, now: int) -> None:
        """Raise `ApiError` if this key has used it before. `now` in Unix ms, of a call whose signature is right."""
        key, digest = _digest(access_key_id, 8), _digest(nonce, 16)
        with self._lock:
            used = self._until.setdefault(key, {})
            self._forget(used, now, room=1)
            if digest in used:
                raise codes.nonce_used()
            # Its time may lie that far in the future, and be good that long after.
            used[digest] = now + 2 * WINDOW
            self._append(_RECORD.pack(used[digest], key, digest))
            if self._records % _SLACK == 0 and self._is_wasteful():
                self._write_anew(now)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _is_wasteful(self) -> bool:
        """Whether most of the file is of no use any more, or there is none."""
        return self._descriptor is None or self._records > 2 * sum(map(len, self._until.values()))

    def _forget(self, used: dict[bytes, int], now: int, *, room: int) -> None:
        """Drop what is over, and more if there would be no room for so many."""
        while used and (next(iter(used.values())) <= now or len(used) + room > self.MOST):
            del used[next(iter(used))]

    def _read(self) -> None:
        if not self._file.exists():
            return
        try:
            content = self._file.read_bytes()
        except OSError as error:
            log.error("used nonces of before cannot be read", file=str(self._file), error=error.strerror)
            return
        whole = len(content) // _RECORD.size * _RECORD.size
        for until, key, digest in _RECORD.iter_unpack(content[:whole]):
            self._until.setdefault(key, {})[digest] = until

    def _write_anew(self, now: int) -> None:
        """Make the file hold what must be remembered, and nothing else."""
        for used in self._until.values():
            self._forget(used, now, room=0)
        self.close()
        records = [
            _RECORD.pack(until, key, digest) for key, used in self._until.items() for digest, until in used.items()
        ]
        part = self._file.with_suffix(".part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(b"".join(records))
            part.replace(self._file)
            self._descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            log.warning("used nonces cannot be kept over a restart", file=str(self._file), error=error.strerror)
        self._records = len(records)

    def _append(self, record: bytes) -> None:
        self._records += 1
        if self._descriptor is None:
            return
        try:
            complete = os.write(self._descriptor, record) == len(record)
        except OSError:
            complete = False
        if not complete:  # a part of a record would spoil those after it
            log.warning("used nonces cannot be kept over a restart", file=str(self._file), error="the disk is full")
            self.close()


def _digest(text: str, size: int) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()
