"""Takes secrets out of what everybody on this machine may see of a child: its arguments (``ps``, /proc/PID/cmdline).

FFmpeg takes SRT's passphrase and stream id only as arguments: it reads options of protocols from no file, and what may
name a URL inside of a file (concat) may be named by a hostile stream, too. It copies them before it opens anything;
libsrt's threads tell that it calls its peer, and then they are overwritten in its memory, as programs do that take
passwords. A destination's child calls its peer when the first picture has come.
"""

import asyncio
from collections.abc import Collection
from pathlib import Path

import structlog

from penstock.media.child import Child

log = structlog.get_logger()

#: Seconds until the next look: the first time, doubled each time, up to the last.
_FIRST, _LAST = 0.01, 0.5
#: Where the arguments begin and end in memory (proc(5), /proc/PID/stat, fields 48 and 49, behind the program's name).
_BEGIN, _END = 45, 46


def conceal(child: Child, secrets: Collection[str], after: float = _FIRST) -> None:
    """Have these arguments of a child overwritten once it needs them no longer; if that is not now, look `after` s."""
    if child.gone.done() or not secrets:
        return
    try:
        if sum(1 for _ in Path(f"/proc/{child.pid}/task").iterdir()) > 1:
            _overwrite(child.pid, {secret.encode() for secret in secrets})
            return
    except FileNotFoundError:  # it is gone
        return
    except OSError as error:
        log.warning("a child's arguments cannot be concealed", error=str(error))
        return
    asyncio.get_running_loop().call_later(after, conceal, child, secrets, min(2 * after, _LAST))


def _overwrite(pid: int, secrets: Collection[bytes]) -> None:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[_BEGIN]), int(fields[_END])
    with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
        memory.seek(begin)
        arguments = memory.read(end - begin).split(b"\0")
        memory.seek(begin)
        memory.write(b"\0".join(b"*" * len(one) if one in secrets else one for one in arguments))
