"""What the relay benchmark sets going: the load, and the relays that it compares. Needs the repository on the path."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

from tests.e2e.cloud import Cloud
from tests.e2e.nginx import Nginx
from tests.e2e.running import PenstockServer, penstock, until
from tests.media import CACHE, ffmpeg_exe
from tests.parts import require

LOAD = Path(__file__).with_name("relay_load.c")
CLIP_PICTURE = "testsrc2=s=1280x720:r=30,noise=alls=12:allf=t"
CLIP_SOUND = "anoisesrc=r=48000:a=0.1,pan=stereo|c0=c0|c1=c0"
CLIP_CODECS = (
    *("-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"),
    *("-g", "30", "-keyint_min", "30", "-sc_threshold", "0", "-b:v", "1800k", "-maxrate", "1800k", "-bufsize", "900k"),
    *("-c:a", "aac", "-b:a", "128k"),
)

#: What `relay_load` says when it is asked.
Count = dict[str, Any]


class Load:
    """The origin and sink of all streams, while the block lasts."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [load_program(), clip()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        #: When each sink had its first keyframe, on the clock of `time.monotonic`.
        self.first: dict[str, float] = {}
        self.port = int(self._answer("port")["port"])
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def say(self, *words: object) -> None:
        """Give a command; see `relay_load.c`."""
        assert self._process.stdin is not None
        print(*words, file=self._process.stdin, flush=True)

    @property
    def count(self) -> Count:
        """What was counted since the last reset."""
        self.say("stat")
        return self._answer("sinks")

    def _answer(self, with_: str) -> Count:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found: Count = json.loads(line)
            if with_ in found:
                return found
            self.first[found["first"]] = found["at"]
        raise RuntimeError(f"the load ended with {self._process.wait()}")

    def origin(self, name: str) -> str:
        """Where a stream is pulled from."""
        return f"rtmp://127.0.0.1:{self.port}/live/{name}"

    def sink(self, name: str) -> str:
        """Where it is pushed to."""
        return f"rtmp://127.0.0.1:{self.port}/out/{name}"

    def until_flowing(self, sinks: int, *, within: float = 60) -> None:
        """Wait until so many sinks have pictures and sound."""
        until(lambda: self.count["flowing"] >= sinks, within=within, what=f"{sinks} sinks are served: {self.count}")


@cache
def load_program() -> Path:
    """`relay_load`, built now."""
    program = CACHE / "relay_load"
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run([require("gcc"), "-O2", "-Wall", "-o", program, LOAD], check=True)
    return program


@cache
def clip() -> Path:
    """32 s of pictures and sound, a whole number of frames of both, so that it goes round without a seam. Made once."""
    made = CACHE / "relay-720p30-32s.flv"
    if not made.exists():
        tell("making the clip")
        CACHE.mkdir(parents=True, exist_ok=True)
        part = made.with_suffix(".part")
        inputs = ["-f", "lavfi", "-i", CLIP_PICTURE, "-f", "lavfi", "-i", CLIP_SOUND]
        command = [
            ffmpeg_exe(),
            "-nostdin",
            "-v",
            "error",
            "-y",
            *inputs,
            "-t",
            "32",
            *CLIP_CODECS,
            "-f",
            "flv",
            str(part),
        ]
        subprocess.run(command, check=True)
        part.rename(made)
    return made


# What relays


class Relays:
    """Something that relays `streams`: begun after its memory was measured idle. `rows` tells which processes count."""

    name = ""

    def __init__(self, load: Load, folder: Path, streams: int) -> None:
        self.load, self.folder, self.streams = load, folder, streams

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        raise NotImplementedError

    @property
    def rows(self) -> Mapping[str, Sequence[int]]:
        """Process ids by the row of the table that they belong to."""
        raise NotImplementedError

    def begin(self) -> None:
        """Have the streams relayed; they need not flow yet."""
        raise NotImplementedError


class Penstock(Relays):
    """One worker, tasks created through the API by the vendor's SDK."""

    name = "Penstock"

    def __enter__(self) -> Self:
        made = penstock("account", "create", "demo", "--json", "--data", self.folder / "data")
        settings = {"PENSTOCK_API_RATE_LIMIT": "0", "PENSTOCK_WORKER_CAPACITY": str(self.streams + 100)}
        self.server = PenstockServer(self.folder, json.loads(made.stdout), workers=1, env=settings)
        self.server.start()
        self.server.command("account", "limit", "demo", "tasks", "1000000")
        keys = self.server.account()
        self.cloud = Cloud(self.server.http, keys["secret_id"], keys["secret_key"])
        return self

    def __exit__(self, *_: object) -> None:
        self.server.clean_up()

    @property
    def rows(self) -> Mapping[str, Sequence[int]]:
        worker = self.server.pid_of("worker")
        return {"Penstock, worker": [worker], "Penstock, all processes": self.server.all_pids}

    @property
    def place(self) -> tuple[int, int]:
        """Port and process of the hub."""
        return int(self.server.rtmp.rpartition(":")[2]), self.server.pid_of("hub")

    def begin(self) -> None:
        for name in names(self.streams):
            self.create(name)

    def create(self, name: str) -> None:
        """Have one more stream relayed; returns with the API's answer."""
        self.cloud.create(self.load.origin(name), self.load.sink(name))


class NginxRtmp(Relays):
    """One worker that pushes what is published to it."""

    name = "nginx-rtmp"

    def __enter__(self) -> Self:
        # Without streams there is nothing to push: it only plays.
        self._nginx = Nginx(self.folder / "nginx", f"push {self.load.sink('')[:-1]};" if self.streams else "")
        self._nginx.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._nginx.__exit__()

    @property
    def rows(self) -> Mapping[str, Sequence[int]]:
        return {"nginx-rtmp": [self._nginx.pid]}

    @property
    def place(self) -> tuple[int, int]:
        """Port and process."""
        return self._nginx.port, self._nginx.pid

    def begin(self) -> None:
        for name in names(self.streams):
            self.load.say("publish", self._nginx.port, "live", name)
            time.sleep(0.01)


class EngineFanOut(Relays):
    """A worker's engine that sends stream s0 to all sinks."""

    name = "Penstock, a worker's engine"

    def __enter__(self) -> Self:
        self._processes: list[subprocess.Popen[bytes]] = []
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    @property
    def rows(self) -> Mapping[str, Sequence[int]]:
        return {self.name: [process.pid for process in self._processes]}

    def begin(self) -> None:
        sinks = [self.load.sink(name) for name in copies(self.streams)]
        command = [sys.executable, "-m", "bench.engine_alone", self.load.origin("s0"), *sinks]
        self._processes.append(subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *command]))


class NginxFanOut(NginxRtmp):
    """One worker that pushes the stream s0 to all sinks."""

    def __enter__(self) -> Self:
        pushes = " ".join(f"push {self.load.sink(name)};" for name in copies(self.streams))
        self._nginx = Nginx(self.folder / "nginx", pushes)
        self._nginx.__enter__()
        return self

    def begin(self) -> None:
        self.load.say("publish", self._nginx.port, "live", "s0")


class FFmpegs(Relays):
    """A process for each stream."""

    name = "ffmpeg -c copy"

    def __enter__(self) -> Self:
        self._processes: list[subprocess.Popen[bytes]] = []
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    @property
    def rows(self) -> Mapping[str, Sequence[int]]:
        return {"ffmpeg -c copy": [process.pid for process in self._processes]}

    def begin(self) -> None:
        for name in names(self.streams):
            self.create(name)
            time.sleep(0.1)

    def create(self, name: str) -> None:
        """Start one more."""
        copy = ["-i", self.load.origin(name), "-c", "copy", "-f", "flv", self.load.sink(name)]
        command = [ffmpeg_exe(), "-nostdin", "-v", "fatal", *copy]
        self._processes.append(subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *command]))


def names(streams: int) -> list[str]:
    return [f"s{number}" for number in range(streams)]


def copies(sinks: int) -> list[str]:
    """Names under which a sink takes the stream s0."""
    return [f"s0-{number}" for number in range(sinks)]


def tell(text: str) -> None:
    """Say how far it is."""
    print(text, file=sys.stderr, flush=True)
