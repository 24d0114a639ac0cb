"""What 200 streams of 2 Mbps cost that are held warm on edges, by FLV over HTTP and by RTMP, beside curl and FFmpeg."""

import asyncio
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from bench.relay import judged
from bench.relay_peers import Load
from penstock.app import ffmpeg, viewers
from penstock.media.plan import Hold, Plan
from penstock.media.warming import Warming
from penstock.net import Policy
from tests.packets import AVC_HEADER, picture
from tests.rtmp_wire import VIDEO, Message, flv_file

HOLDS = 200
SECONDS = 20.0
#: FFmpeg takes so much memory that 200 leave no room; what one of them costs is compared.
FFMPEGS = 40
#: Seconds that viewers have to begin.
SETTLE = 8.0
#: The targets: CPU of a hold, of the cheaper viewer's; memory of a hold.
MOST_OF_CPU, MOST_KB = 0.35, 100
#: 25 pictures a second of 10 kB: 2 Mbps.
FRAME, SIZE = 0.04, 10_000


async def serve() -> None:
    """An edge: every viewer gets headers and a keyframe, then pictures, each on a clock of its own."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\n\r\n"
    begin = flv_file([Message(VIDEO, 0, AVC_HEADER), Message(VIDEO, 0, picture(key=True, size=SIZE))])
    tag = flv_file([Message(VIDEO, 40, picture(size=SIZE))])[13:]

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + begin)
        due = asyncio.get_running_loop().time() + random.random() * FRAME
        while not writer.is_closing():
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            writer.write(tag)
            due += FRAME

    server = await asyncio.start_server(play, "127.0.0.1", 0, backlog=1000)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


async def hold(protocol: Literal["flv", "rtmp"], port: int) -> None:
    """Hold them all, and say what a second and a hold cost."""
    crew = viewers(Policy([ip_network("127.0.0.0/8")]), rng=random.Random(), rate=1000, pulls=HOLDS)
    before = _resident()
    holds = [
        Hold(
            id=f"{number}/{protocol}",
            edge=str(number),
            area="global",
            url=f"http://play.example.com/live/{number}",
            protocol=protocol,
            host="127.0.0.1",
            port=port,
            vhost="play.example.com",
            path=f"/live/{number}{'.flv' if protocol == 'flv' else ''}",
        )
        for number in range(HOLDS)
    ]
    warming = Warming(Plan(holds=tuple(holds)), viewers=crew, task=1, on_event=lambda *_: None)
    while not all(viewer.warm_ms is not None for viewer in warming.viewers.values()):
        warming.sample()
        await asyncio.sleep(0.25)
    used, began = time.process_time(), time.monotonic()
    while time.monotonic() - began < SECONDS:
        warming.sample()
        await asyncio.sleep(0.25)
    spent = (time.process_time() - used) / (time.monotonic() - began)
    rate = sum(viewer.supervisor.meter.bitrate for viewer in warming.viewers.values()) / HOLDS / 1e6
    kilobytes = (_resident() - before) / HOLDS / 1000
    assert all(viewer.is_warm and not viewer.reconnects for viewer in warming.viewers.values())
    sys.stdout.write(f"{spent / HOLDS} {rate} {kilobytes}\n")
    await warming.close()


def _resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()


def watch(commands: Sequence[Sequence[str]]) -> float:
    """CPU seconds per second of one of these processes, which run at once."""
    many = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for command in commands]
    time.sleep(SETTLE)
    before, began = sum(map(_spent, many)), time.monotonic()
    time.sleep(SECONDS)
    spent = (sum(map(_spent, many)) - before) / (time.monotonic() - began)
    alive = sum(one.poll() is None for one in many)
    for one in many:
        one.kill()
        one.wait()
    assert alive == len(many), f"{len(many) - alive} of {commands[0][0]} have ended"
    return spent / len(many)


def _spent(process: "subprocess.Popen[bytes]") -> float:
    """CPU seconds of all threads by the scheduler's own count, which knows runs shorter than a tick."""
    threads = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text("ascii").split()[0]) for thread in threads) / 1e9


def main() -> int:
    """Measure one after the other, and say whether the targets are met."""
    again = [sys.executable, "-m", "bench.preload"]

    def held(protocol: str, port: int) -> list[float]:
        run = subprocess.run([*again, "hold", protocol, str(port)], stdout=subprocess.PIPE, text=True, check=True)
        return [float(word) for word in run.stdout.split()]

    with subprocess.Popen([*again, "serve"], stdout=subprocess.PIPE, text=True) as edge:
        assert edge.stdout is not None
        port = int(edge.stdout.readline())
        found = {"holds, FLV over HTTP": held("flv", port)}
        curl = ["curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{port}/live/x.flv"]
        watching = {f"{HOLDS} curl, FLV over HTTP": watch([curl] * HOLDS)}
        edge.kill()
    with Load() as load:
        found["holds, RTMP"] = held("rtmp", load.port)
        thrown = ["-c", "copy", "-f", "null", "-"]
        copies = [[ffmpeg(None), "-v", "error", "-i", load.origin(str(number)), *thrown] for number in range(FFMPEGS)]
        watching[f"{FFMPEGS} ffmpeg, RTMP"] = watch(copies)
    print("\n| viewers | Mbps of each | CPU of each, % of a core | memory of each, kB |\n|---|---|---|---|")
    for name, (spent, rate, kilobytes) in found.items():
        print(f"| {HOLDS} {name} | {rate:.1f} | {spent * 100:.4f} | {kilobytes:.0f} |")
    for name, spent in watching.items():
        print(f"| {name} | 2.0 | {spent * 100:.4f} | |")
    worst = max(spent for spent, _, _ in found.values()) / min(watching.values())
    largest = max(kilobytes for _, _, kilobytes in found.values())
    return 0 if all([judged("CPU, of the cheaper viewer", worst, MOST_OF_CPU), judged("kB", largest, MOST_KB)]) else 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            asyncio.run(serve())
        case ["hold", "flv" | "rtmp" as protocol, port]:
            asyncio.run(hold(protocol, int(port)))
        case _:
            sys.exit(main())
