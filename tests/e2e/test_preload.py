"""A preload from the vendor's own client to real edges: `penstock serve`, two nginx edges of two areas, one origin."""

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.aliyun.signing import DESCRIBE, SET, signer_of
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.nginx import Nginx
from tests.e2e.running import penstock
from tests.packets import Clip
from tests.patience import PATIENCE
from tests.rtmp_peer import Connection, Origin, PeerThread
from tests.unit.test_hls_holds import CACHE, EDGE, Station, visit
from tests.unit.test_holds import FLV, hold, watch

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-alibaba" / "bin" / "python"
SCRIPT = ROOT / "tests" / "aliyun" / "alibaba_calls.py"
DOMAIN = "play.example.com"
URL = f"rtmp://{DOMAIN}/live/match"
#: How long a task runs whose worker dies, in seconds: a worker is replaced within 3, on a busy machine later.
WINDOW = 30


def by_sdk(server: PenstockServer, action: str, **parameters: str) -> dict[str, Any]:
    """What Alibaba Cloud's own client got."""
    job = {
        "endpoint": server.http.removeprefix("http://"),
        "secret_id": server.account("demo")["secret_id"],
        "secret_key": server.account("demo")["secret_key"],
        "calls": [{"client": "live", "action": action, "parameters": {"DomainName": DOMAIN, **parameters}}],
    }
    done = subprocess.run(
        [PYTHON, "-W", "ignore", SCRIPT],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [answer] = json.loads(done.stdout)
    assert answer["status"] == 200, answer
    return dict(answer)


def call(server: PenstockServer, action: str, **parameters: str) -> dict[str, Any]:
    """The same, signed by the tests: quick, for who asks often."""
    answer = signer_of(server.http, server.account("demo")).v3(action, {"DomainName": DOMAIN, **parameters})
    assert answer.status == 200, answer.body
    return answer.tree


def has_set(server: PenstockServer, *, url: str = URL, by: Callable[..., dict[str, Any]] = call, end: str = "") -> bool:
    """Ask for the preload; whether the API knows an edge that serves it by now."""
    return bool(by(server, SET, Area="domestic", PlayUrl=url, PreloadedEndTime=end)["Status"] == "Success")


def rows(server: PenstockServer) -> list[dict[str, Any]]:
    """What is said of all tasks."""
    return list(call(server, DESCRIBE)["PreloadTasks"]["PreloadTask"])


def warm(server: PenstockServer, *, tasks: int) -> list[dict[str, Any]]:
    """All rows, if there are so many and every one is warm."""
    found = rows(server)
    return found if [one["Process"] for one in found] == ["100%"] * tasks else []


def row(server: PenstockServer) -> dict[str, Any]:
    """What is said of the one task."""
    [found] = rows(server)
    return found


def shown(server: PenstockServer, task: str) -> dict[str, Any]:
    """What `preload show` prints."""
    return dict(json.loads(server.command("preload", "show", task, "--json").stdout))


def test_edges_of_an_area_are_warm_before_the_audience_comes(penstock_server: ServerFactory, tmp_path: Path) -> None:
    server = penstock_server(workers=2)

    def run(*words: str) -> None:
        penstock(*words, "--data", server.data)

    with PeerThread(lambda: Origin(Clip(seconds=20).messages())) as origin:

        def pulls() -> int:
            return sum(connection.verb == "play" for connection in origin.connections)

        def edge(name: str) -> Nginx:
            (tmp_path / name).mkdir()
            return Nginx(tmp_path / name, f"pull rtmp://127.0.0.1:{origin.peer.port}/live;")

        with edge("north") as north, edge("south") as south, edge("far") as far:
            run("domain", "add", DOMAIN, "--area", "domestic")
            for name, area, where in (("north", "domestic", north), ("far", "overseas", far)):
                run("edge", "add", name, "--area", area, "--rtmp", f"127.0.0.1:{where.port}")
            until(lambda: has_set(server, by=by_sdk), what="the edges are known")
            until(lambda: row(server)["Process"] == "100%")
            assert pulls() == 1
            # An edge that joins is warmed too; then each has pulled once.
            run("edge", "add", "south", "--area", "global", "--rtmp", f"127.0.0.1:{south.port}")
            until(lambda: pulls() == 2 and row(server)["Process"] == "100%")
            [described] = by_sdk(server, DESCRIBE, Status="complete")["PreloadTasks"]["PreloadTask"]
            assert (described["PlayUrl"], described["Process"]) == (URL, "100%")
            # And the first hundred viewers of each add none.
            for warmed in (north, south):
                asyncio.run(audience(warmed.port, viewers=100))
            assert pulls() == 2
        assert server.stop() == 0


async def audience(port: int, *, viewers: int) -> None:
    """So many at once, each of whom waits for a keyframe."""
    for one in await asyncio.gather(*(watch(hold(port, urlsplit(URL).path)) for _ in range(viewers))):
        one.close("")


def test_hls_edge_has_fetched_each_segment_once_before_the_audience_comes(
    penstock_server: ServerFactory, tmp_path: Path
) -> None:
    server = penstock_server(workers=2)
    station, folder = Station(tmp_path / "origin"), tmp_path / "edge"
    folder.mkdir()
    station.publish(6)
    server.command("domain", "add", DOMAIN, "--area", "domestic")
    with (
        Nginx(station.folder) as origin,
        Nginx(folder, http=EDGE.format(origin=origin.http_url), all_http=CACHE.format(folder=folder)) as edge,
    ):
        where = f"127.0.0.1:{edge.http_port}"
        server.command("edge", "add", "north", "--area", "domestic", "--http", where)
        until(lambda: has_set(server, url=f"http://{DOMAIN}/live/test.m3u8"), what="the edge is known")
        until(lambda: row(server)["Process"] == "100%", what="the edge is warm")
        station.publish(1)
        until(lambda: "6.ts" in station.fetched(), what="a new segment is fetched")
        before = station.fetched()
        assert before == {f"{number}.ts": 1 for number in range(3, 7)}
        assert visit(edge.http_url, range(3, 7), 100) == {"HIT"}
        assert station.fetched() == before


def test_overlapping_tasks_send_one_viewer_to_an_edge(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=2)
    with PeerThread(lambda: Origin(Clip(seconds=20).messages())) as edge:
        server.command("domain", "add", DOMAIN, "--area", "domestic")
        server.command("edge", "add", "north", "--area", "domestic", "--rtmp", f"127.0.0.1:{edge.peer.port}")
        until(lambda: has_set(server), what="the edge is known")
        for _ in range(7):
            assert has_set(server)
        found = until(lambda: warm(server, tasks=8), what="all are warm")
        first, last = (shown(server, found[number]["TaskId"]) for number in (0, -1))
        assert first["owner"] == last["owner"]
        until(lambda: shown(server, first["id"])["edges"][0]["warm_ms"] is not None)
        # One that holds, and one that measured what it left.
        until(lambda: [viewer.closed for viewer in edge.connections] == [False, True])


def test_call_that_is_sent_again_is_refused_also_after_a_restart(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1)
    server.command("domain", "add", DOMAIN)
    caller = signer_of(server.http, server.account("demo"))

    def again() -> tuple[int, bytes]:
        answer = caller.v1(parameters={"DomainName": DOMAIN}, SignatureNonce="once")
        return answer.status, answer.body

    assert again()[0] == 200
    for ending in (signal.SIGKILL, signal.SIGTERM):
        api = server.pid_of("api")
        os.kill(api, ending)
        until(lambda pid=api: server.pid_of("api") not in (None, pid), what="another API serves")  # type: ignore[misc]
        status, body = again()
        assert (status, json.loads(body)["Code"]) == (400, "SignatureNonceUsed")
        assert caller.v1(parameters={"DomainName": DOMAIN}).status == 200


#: An edge on which several streams are each wrong in their own way.
FAULTY = """
location /warm {{ limit_rate 50k; }}
location /page {{ default_type text/html; return 200 "<html>welcome</html>"; }}
location /away {{ return 302 http://169.254.169.254/latest; }}
"""
WHY = {
    "warm": "",
    "page": "this is not FLV (the edge calls it text/html)",
    "missing": "HTTP status 404",
    "away": (
        "redirected to 169.254.169.254: address 169.254.169.254 is not public; the setting network.allow can permit it"
    ),
    "down": "connection refused",
    "silent": "connected, but no answer within 10 s",
}


def test_edges_that_cannot_be_warmed_say_why_until_the_end_and_after_it(
    penstock_server: ServerFactory, tmp_path: Path
) -> None:
    server = penstock_server(workers=2)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        down = closed.getsockname()[1]
    with Nginx(tmp_path / "nginx", http=FAULTY.format()) as nginx, socket.create_server(("127.0.0.1", 0)) as silent:
        (nginx.www / "warm").write_bytes(FLV + bytes(50_000_000))
        server.command("domain", "add", DOMAIN, "--area", "domestic")
        for name in WHY:
            port = {"down": down, "silent": silent.getsockname()[1]}.get(name, nginx.http_port)
            where = ("--http", f"127.0.0.1:{port}", "--path", f"/{name}")
            server.command("edge", "add", name, "--area", "domestic", *where)
        until(lambda: call(server, SET, PlayUrl=f"http://{DOMAIN}/live/a.flv")["Status"] == "Success", what="known")

        def reasons(task: str) -> dict[str, str]:
            return {edge["edge"]: edge["error"] for edge in shown(server, task)["edges"]}

        task = row(server)["TaskId"]
        until(lambda: reasons(task) == WHY, what="each says why")
        assert row(server)["Process"] == "16%"
        # One with the same edges that ends soon.
        end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=10)
        assert has_set(server, url=f"http://{DOMAIN}/live/b.flv", end=f"{end:%Y-%m-%dT%H:%M:%SZ}")
        [failed] = until(lambda: call(server, DESCRIBE, Status="failed")["PreloadTasks"]["PreloadTask"])
        assert (failed["Status"], failed["Description"], failed["Process"]) == ("Failed", "InternalError", "16%")
        assert reasons(failed["TaskId"]) | {"silent": ""} == WHY | {"silent": ""}


def test_dead_workers_holds_are_taken_up_by_another_one_until_the_same_end(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=2)
    with PeerThread(lambda: Origin(Clip(seconds=20).messages())) as edge:

        def watching() -> list[Connection]:
            return [connection for connection in edge.connections if not connection.closed]

        server.command("domain", "add", DOMAIN, "--area", "domestic")
        server.command("edge", "add", "north", "--area", "domestic", "--rtmp", f"127.0.0.1:{edge.peer.port}")
        end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=WINDOW)
        until(lambda: has_set(server, end=f"{end:%Y-%m-%dT%H:%M:%SZ}"), what="the edge is known")
        task = row(server)["TaskId"]
        until(lambda: row(server)["Process"] == "100%" and len(watching()) == 1, what="the edge is warm")
        [first], owner = watching(), shown(server, task)["owner"]
        server.kill_owner(shown(server, task))

        until(lambda: first.closed and watching(), what="another worker watches")
        until(lambda: row(server)["Process"] == "100%", what="the edge is warm again")
        assert shown(server, task)["owner"] not in ("", owner)
        until(lambda: len(watching()) == 1 and datetime.now(UTC) < end, what="one watches, and the end has not come")
        # The end is that of the call, not one of the new worker's.
        until(lambda: not watching(), within=WINDOW + 10, what="nobody watches any more")
        assert timedelta(0) <= datetime.now(UTC) - end < timedelta(seconds=20)
        assert row(server)["Process"] == "100%"
