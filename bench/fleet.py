"""1,000 edges on which 5 streams are warmed, on real sockets: how long that takes, and what Describe costs then.

The edges are one process that answers at 1,000 loopback addresses: headers, a keyframe, then a message each 10 s.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from bench.describe import cpu_s
from tests.aliyun.signing import SET, Signer, signer_of
from tests.e2e.running import PenstockServer, penstock
from tests.packets import AVC_HEADER, picture
from tests.rtmp_wire import VIDEO, Message, flv_file

EDGES, STREAMS = 1_000, 5
#: Viewers that a worker sends out each second (``preload.rate``).
RATE = 250
#: What a warm stream gets each so many seconds.
EVERY = 10
CALLS = 300
IDLE = 10.0
DOMAIN = "play.example.com"
#: Seconds: each first viewer takes a turn of the ramp.
BOUND = EDGES * STREAMS / RATE
#: Seconds for what the worker does in between, its reports for instance, and for the last edge to answer.
SLACK = 1.0
TARGET_MS = 20.0


async def serve() -> None:
    """All edges."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\n\r\n"
    begin = flv_file([Message(VIDEO, 0, AVC_HEADER), Message(VIDEO, 0, picture(key=True, size=2_000))])
    tag = flv_file([Message(VIDEO, 40, picture(size=2_000))])[13:]

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + begin)
        while not writer.is_closing():
            await asyncio.sleep(EVERY)
            writer.write(tag)

    server = await asyncio.start_server(play, "0.0.0.0", 0, backlog=1000)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def table(number: int, port: int) -> str:
    """An edge in the configuration file."""
    where = f"127.1.{number // 250}.{number % 250 + 1}:{port}"
    return f'[[edge]]\nname = "e{number}"\narea = "global"\nhttp = "{where}"\n'


def processes(signer: Signer) -> list[int]:
    """How warm each stream is, in percent."""
    rows = signer.v1(parameters={"DomainName": DOMAIN}).tree["PreloadTasks"]["PreloadTask"]
    return [int(row["Process"].removesuffix("%")) for row in rows]


def warm_since(server: PenstockServer, signer: Signer) -> tuple[float, float]:
    """When the first and when the last keyframe has come; Unix seconds."""
    rows = signer.v1(parameters={"DomainName": DOMAIN}).tree["PreloadTasks"]["PreloadTask"]
    shown = [json.loads(server.command("preload", "show", row["TaskId"], "--json").stdout) for row in rows]
    times = [datetime.fromisoformat(edge["since"]).timestamp() for task in shown for edge in task["edges"]]
    return min(times), max(times)


def measure(folder: Path, port: int) -> int:
    """Warm the fleet, ask how warm it is, and say what both took."""
    data = folder / "data"
    made = json.loads(penstock("account", "create", "demo", "--json", "--data", data).stdout)
    penstock("domain", "add", DOMAIN, "--area", "global", "--data", data)
    (data / "penstock.toml").write_text("".join(table(number, port) for number in range(EDGES)))
    env = {"PENSTOCK_PRELOAD_RATE": str(RATE), "PENSTOCK_API_RATE_LIMIT": "0"}
    server = PenstockServer(folder, made, workers=1, env=env).start()
    try:
        signer = signer_of(server.http, made)
        urls = ",".join(f"http://{DOMAIN}/live/{number}.flv" for number in range(STREAMS))
        began = time.time()
        assert signer.v1(SET, {"DomainName": DOMAIN, "Area": "global", "PlayUrl": urls}).status == 200
        while (warm := processes(signer)) != [100] * STREAMS:
            print(f"{time.time() - began:.0f} s: {warm}", file=sys.stderr)
            assert time.time() - began < 4 * BOUND, "the fleet does not get warm"
            time.sleep(1)
        first, last = (at - began for at in warm_since(server, signer))
        api = server.pid_of("api")
        idle = cpu_s(api)
        time.sleep(IDLE)
        idle = (cpu_s(api) - idle) / IDLE
        used, began = cpu_s(api), time.monotonic()
        for _ in range(CALLS):
            processes(signer)
        each = (cpu_s(api) - used - idle * (time.monotonic() - began)) * 1000 / CALLS
        kept = processes(signer) == [100] * STREAMS
        worker = cpu_s(server.pid_of("worker"))
        time.sleep(IDLE)
        worker = (cpu_s(server.pid_of("worker")) - worker) / IDLE
    finally:
        server.clean_up()
    print(
        f"{EDGES} edges x {STREAMS} streams: the first is warm after {first:.1f} s, the last {last - first:.1f} s later"
    )
    print(f"the ramp's bound at {RATE} a second: {BOUND:.0f} s")
    print(
        f"Describe: {each:.1f} ms of server CPU (target {TARGET_MS:.0f}); the API without calls: {idle:.1%} of a core"
    )
    print(f"the worker that holds them: {worker:.1%} of a core; all still warm: {kept}")
    return 0 if last - first <= BOUND + SLACK and each <= TARGET_MS and kept else 1


def main() -> int:
    """Measure, and say whether the targets are met."""
    again = [sys.executable, "-m", "bench.fleet", "serve"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(again, stdout=subprocess.PIPE, text=True) as edges,
    ):
        assert edges.stdout is not None
        try:
            return measure(Path(folder), int(edges.stdout.readline()))
        finally:
            edges.kill()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        sys.exit(main())
