"""The door to other programs: what they see, what they may use, how they end."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.errors import MediaError
from penstock.media import child as door
from penstock.media.child import Child, Children, Limits, reason
from tests.patience import PATIENCE

#: Never ends by itself, and never looks at its input.
SLEEPER = "import time; print('up', flush=True); time.sleep(3600)"


def python(program: str, *arguments: str) -> list[str]:
    """A child that is a Python program."""
    return [sys.executable, "-I", "-S", "-c", program, *arguments]


async def output(child: Child) -> bytes:
    """All that it writes."""
    loop, pieces = asyncio.get_running_loop(), []
    while piece := await loop.sock_recv(child.sock, 65536):
        pieces.append(piece)
    return b"".join(pieces)


async def run(argv: list[str], limits: Limits = door.LIMITS) -> tuple[bytes, str]:
    """Run to the end: what it wrote, and why it ended."""
    async with Children().run(argv, limits) as child:
        return await output(child), await child.ended()


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# What it sees


async def test_environment_is_built_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("PENSTOCK_SECURITY_KEY", "secret")
    seen = "import os; print(sorted((k, v) for k, v in os.environ.items() if k != 'LC_CTYPE'))"
    assert (await run(python(seen)))[0].decode().strip() == str([("PATH", os.defpath)])
    async with Children(certificates="/ca.pem").run(python(seen)) as child:
        assert (await output(child)).decode().strip() == str([("PATH", os.defpath), ("SSL_CERT_FILE", "/ca.pem")])


async def test_no_descriptor_of_ours_is_seen() -> None:
    with socket.socket() as ours:
        os.set_inheritable(ours.fileno(), True)
        listing = (
            "import os; print([fd for fd in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{fd}')])"
        )
        assert (await run(python(listing)))[0] == b"['0', '1', '2']\n"


async def test_arguments_arrive_as_they_are() -> None:
    hostile = ["; touch /tmp/x", "$(id)", "-i", "--", "a b\nc", "*"]
    assert (await run(python("import sys; print(sys.argv[1:])", *hostile)))[0].decode().strip() == str(hostile)


async def test_input_and_output_are_one_socket() -> None:
    echo = "import sys; sys.stdout.write(sys.stdin.read().upper())"
    async with Children().run(python(echo)) as child:
        await asyncio.get_running_loop().sock_sendall(child.sock, b"hello")
        child.sock.shutdown(socket.SHUT_WR)
        assert await output(child) == b"HELLO"


async def test_child_that_is_not_read_waits() -> None:
    size = 8 << 20
    writer = f"import sys; sys.stdout.buffer.write(bytes({size})); sys.stdout.flush(); sys.exit('all written')"
    async with Children().run(python(writer)) as child:
        await child.spoken()
        await asyncio.wait([child.gone], timeout=0.3)
        assert not child.gone.done()
        assert len(await output(child)) == size
        assert await child.ended() == "all written"


# Why it ended


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"first\nlast\n", "last"),
        (b"[https @ 0x5581c0] [tcp @ 0x5581] Connection refused\n", "Connection refused"),
        (b"Error opening input\n    Last message repeated 7 times\n", "Error opening input"),
        (b"no \x1b[31mcolours\x00 \xff\r\n", "no [31mcolours \ufffd"),
        (b"cannot open http://u:p@h/a.m3u8?token=abc: 404", "cannot open http://***@h/a.m3u8?token=***: 404"),
        (b"x" * 1000, "x" * 200 + "…"),
        (
            (
                b"[tls @ 0x5610] error:0A000086:SSL routines::certificate verify failed\n"
                b"[in#0 @ 0x5610] Error opening input: Input/output error\n"
                b"Error opening input file http://h/a.m3u8.\nError opening input files: Input/output error\n"
            ),
            "error:0A000086:SSL routines::certificate verify failed",
        ),
        (b"Error opening input files: Input/output error\n", "Error opening input files: Input/output error"),
    ],
)
def test_reason_is_the_last_line(words: bytes, said: str) -> None:
    assert reason(words) == said


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.exit('it is over')", "it is over"),
        ("import sys; sys.exit(3)", "it ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "it was ended by SIGKILL"),
        ("import sys; sys.stderr.write('noise\\n' * 20000 + 'the end')", "the end"),
    ],
)
async def test_end_is_told(program: str, said: str) -> None:
    async with Children().run(python(program)) as child:
        with pytest.raises(MediaError) as ended:
            await child.spoken()
        assert ended.value.message == said


async def test_child_that_talks_without_end_is_heard_a_little_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    read, heard = os.read, []

    def counted(fd: int, size: int) -> bytes:
        words = read(fd, size)
        heard.append(len(words))
        return words

    monkeypatch.setattr(os, "read", counted)
    async with Children().run(python("import os\nwhile True: os.write(2, b'x' * 65536)")) as child:
        began = time.monotonic()
        while len(heard) < 12:
            await asyncio.sleep(0.02)
        assert not child.gone.done()
    # Where a pipe is emptied thousands of times in half a second.
    assert max(heard) <= 8192
    assert time.monotonic() - began > 0.4


async def test_program_that_is_not_there() -> None:
    children = Children(at_once=1)
    for _ in range(2):
        async with children.run(["/no/such/program"]) as child:
            assert "/no/such/program" in await child.ended()


async def test_machine_without_room_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    children = Children(at_once=1)
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", full)
        with pytest.raises(MediaError, match="ffmpeg cannot be started: resource temporarily unavailable"):
            async with children.run(["/usr/bin/ffmpeg"]):
                pass
    async with children.run(python("print('room')")) as child:
        assert await output(child) == b"room\n"


# What it may use


@pytest.mark.parametrize(("size", "said"), [(300 << 20, "MemoryError"), (100 << 20, "it ended with exit code 0")])
async def test_memory_is_bounded(size: int, said: str) -> None:
    """From a moment after the start on, so it asks for memory when it is told to."""
    async with Children().run(python(f"input(); bytearray({size})"), Limits(memory=200 << 20)) as child:
        await asyncio.get_running_loop().sock_sendall(child.sock, b"\n")
        assert await child.ended() == said


async def test_cpu_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_CPU_WINDOW", 1.0)
    _, said = await run(python("while True: pass"), Limits(cpu=0.05))
    assert re.fullmatch(r"it used more than 0\.05 CPU cores for \d+ s", said)


async def test_children_start_few_at_a_time() -> None:
    """One that has written nothing keeps the next one waiting, but not for ever."""
    children, started = Children(at_once=1), []

    async def one(program: str) -> None:
        async with children.run(python(program)) as child:
            started.append((program, time.monotonic()))
            await child.spoken()
            await asyncio.Event().wait()

    silent, talking = "import time; time.sleep(3600)", SLEEPER
    running = [asyncio.create_task(one(silent)), asyncio.create_task(one(talking)), asyncio.create_task(one(talking))]
    async with asyncio.timeout(PATIENCE):
        while len(started) < 3:
            await asyncio.sleep(0.02)
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    (first, began), (_, next_began), _ = started
    assert first == silent
    assert next_began - began > 0.9 * door.STARTING


# How it ends


async def test_cancelled_all_of_it_is_gone() -> None:
    family = (
        "import os, time\n"
        "pid = os.fork()\n"
        "if pid: print(pid, flush=True)\n"
        "for fd in (0, 1, 2): os.close(fd)\n"
        "time.sleep(3600)"
    )
    pids: list[int] = []

    async def owner() -> None:
        async with Children().run(python(family)) as child:
            pids.extend([child.pid, int(await asyncio.get_running_loop().sock_recv(child.sock, 100))])
            await asyncio.Event().wait()

    task = asyncio.create_task(owner())
    async with asyncio.timeout(PATIENCE):
        while len(pids) < 2:
            await asyncio.sleep(0.02)
    assert all(map(is_alive, pids))
    task.cancel()
    await asyncio.wait([task])
    assert not is_alive(pids[0])
    assert wait_until(lambda: not is_alive(pids[1]), 2)


OWNER = """
import asyncio, sys
from penstock.media import child as door

async def main():
    if sys.argv[2] == "without":
        door.shutil.which = lambda *_, **__: None
    async with door.Children().run([sys.executable, "-I", "-S", "-c", sys.argv[1]]) as child:
        await child.spoken()
        print(child.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("setpriv", ["with", "without"])
def test_child_dies_with_whoever_started_it(setpriv: str) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, SLEEPER, setpriv], stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert is_alive(pid)
        owner.kill()
        assert wait_until(lambda: not is_alive(pid), 2)


def test_input_ends_with_whoever_started_it() -> None:
    """The second leash: for a child that the kernel does not kill, as one that has changed its user."""
    untied = "import ctypes, sys; ctypes.CDLL(None).prctl(1, 0); print('up', flush=True); sys.stdin.read()"
    owner = subprocess.Popen([sys.executable, "-c", OWNER, untied, "with"], stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert is_alive(pid)
        owner.kill()
        assert wait_until(lambda: not is_alive(pid), 2)


async def test_children_are_not_started_from_other_threads() -> None:
    said: list[str] = []

    def thread() -> None:
        try:
            asyncio.run(run(python("pass")))
        except RuntimeError as error:
            said.append(str(error))

    worker = threading.Thread(target=thread)
    worker.start()
    await asyncio.to_thread(worker.join)
    assert said[0].startswith("children are started from the main thread")
