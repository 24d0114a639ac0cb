"""A preload from the vendor's own client to real edges: `penstock serve`, two nginx edges of two areas, one origin."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.nginx import Nginx
from tests.e2e.running import penstock
from tests.packets import Clip
from tests.rtmp_peer import Origin, PeerThread

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-alibaba" / "bin" / "python"
SCRIPT = ROOT / "tests" / "aliyun" / "alibaba_calls.py"
DOMAIN = "play.example.com"
URL = f"rtmp://{DOMAIN}/live/match"


def call(server: PenstockServer, action: str, **parameters: Any) -> dict[str, Any]:
    """What Alibaba Cloud's own client got."""
    job = {
        "endpoint": server.http.removeprefix("http://"),
        "secret_id": server.account("demo")["secret_id"],
        "secret_key": server.account("demo")["secret_key"],
        "calls": [{"client": "live", "action": action, "parameters": {"DomainName": DOMAIN, **parameters}}],
    }
    done = subprocess.run(
        [PYTHON, "-W", "ignore", SCRIPT], input=json.dumps(job), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    [answer] = json.loads(done.stdout)
    assert answer["status"] == 200, answer
    return dict(answer)


def has_set(server: PenstockServer) -> bool:
    """Ask for the preload; whether the API knows an edge that serves it by now."""
    answer = call(server, "SetLiveStreamPreloadTasks", Area="domestic", PlayUrl=URL)
    return bool(answer["Status"] == "Success")


def row(server: PenstockServer) -> dict[str, Any]:
    """What the client is told of the one task."""
    [found] = call(server, "DescribeLiveStreamPreloadTasks")["PreloadTasks"]["PreloadTask"]
    return dict(found)


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
            until(lambda: has_set(server), what="the edges are known")
            until(lambda: row(server)["Process"] == "100%", within=30)
            assert pulls() == 1
            # An edge that joins is warmed too; then each has pulled once.
            run("edge", "add", "south", "--area", "global", "--rtmp", f"127.0.0.1:{south.port}")
            until(lambda: pulls() == 2 and row(server)["Process"] == "100%", within=30)
        assert server.stop() == 0
