"""What 200 streams cost that are held warm on edges (FLV over HTTP, 2 Mbps each), beside as many curl viewers."""

import asyncio
import random
import resource
import subprocess
import sys
import time
from ipaddress import ip_network
from pathlib import Path

from penstock.app import viewers
from penstock.media.plan import Hold, Plan
from penstock.media.warming import Warming
from penstock.net import Policy
from tests.packets import AVC_HEADER, picture
from tests.rtmp_wire import VIDEO, Message, flv_file

HOLDS = 200
SECONDS = 20.0
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


async def hold(port: int) -> None:
    """Hold them all, and say what a second and a hold cost."""
    crew = viewers(Policy([ip_network("127.0.0.0/8")]), rng=random.Random(), rate=1000, pulls=HOLDS)
    before = _resident()
    holds = [
        Hold(
            id=f"{number}/flv",
            edge=str(number),
            area="global",
            url=f"http://play.example.com/live/{number}.flv",
            protocol="flv",
            host="127.0.0.1",
            port=port,
            vhost="play.example.com",
            path=f"/live/{number}.flv",
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
    sys.stdout.write(f"{spent} {rate} {kilobytes}\n")
    await warming.close()


def _resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()


def curl(port: int) -> float:
    """CPU seconds per second of as many curls."""
    url = f"http://127.0.0.1:{port}/live/x.flv"
    many = [subprocess.Popen(["curl", "-s", "-o", "/dev/null", url]) for _ in range(HOLDS)]
    time.sleep(5)
    before, began = sum(map(_spent, many)), time.monotonic()
    time.sleep(SECONDS)
    spent = (sum(map(_spent, many)) - before) / (time.monotonic() - began)
    for one in many:
        one.kill()
        one.wait()
    return spent


def _spent(process: "subprocess.Popen[bytes]") -> float:
    """CPU seconds by the scheduler's own count, which knows runs shorter than a tick."""
    return int(Path(f"/proc/{process.pid}/schedstat").read_text("ascii").split()[0]) / 1e9


def main() -> None:
    """Measure one after the other against the same edge."""
    again = [sys.executable, "-m", "bench.preload"]
    with subprocess.Popen([*again, "serve"], stdout=subprocess.PIPE, text=True) as edge:
        assert edge.stdout is not None
        port = edge.stdout.readline().strip()
        held = subprocess.run([*again, "hold", port], capture_output=True, text=True, check=True).stdout.split()
        spent, rate, kilobytes = map(float, held)
        curls = curl(int(port))
        edge.kill()
    print(f"{HOLDS} holds of {rate:.1f} Mbps: {spent:.1%} of a core, {kilobytes:.0f} kB each")
    print(f"{HOLDS} curls: {curls:.1%} of a core; ratio {spent / curls:.2f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            asyncio.run(serve())
        case ["hold", port]:
            asyncio.run(hold(int(port)))
        case _:
            main()
