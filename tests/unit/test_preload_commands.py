"""`penstock preload`: which tasks there are, and how warm each edge node is."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.cli import main
from penstock.tasks.accounts import add_domain, create_account
from penstock.tasks.edges import KnownEdges
from penstock.tasks.model import Area, Edge, HoldStatus
from penstock.tasks.preloads import PreloadTasks
from tests.unit.making import claim, observe, open_new
from tests.unit.world import World

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs commands on a DATA on which no server ever ran."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["penstock", "preload", *words, "--data", str(tmp_path)])
        with pytest.raises(SystemExit) as exit_:
            main()
        code = exit_.value.code or 0
        assert isinstance(code, int)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
async def task_id(tmp_path: Path) -> str:
    """A task whose two edges were last seen warm and retrying."""
    store = open_new(tmp_path)
    world = World(store)
    await create_account(store, "demo")
    await add_domain(store, "play.example", "demo", area=Area.GLOBAL)
    edges = KnownEdges([Edge(name="north", area=Area.DOMESTIC, rtmp="10.0.0.1")])
    tasks = PreloadTasks(store, clock=lambda: world.now, hints=world, live=world, edges=edges)
    [made] = await tasks.create(1, "play.example", ["rtmp://play.example/live/a?auth_key=s3cret"])
    [task] = claim(store, "w-1")
    holds = (
        HoldStatus(
            id="north/rtmp", edge="north", area="domestic", state="flowing", since=world.now, cold_ms=1234, warm_ms=56
        ),
        HoldStatus(
            id="south/rtmp", edge="south", area="global", state="retrying", since=world.now, error="connection refused"
        ),
    )
    observed = observe(task.key, task.epoch, sources=(), sinks=(), holds=holds)
    store.write_now(lambda tx: tx.checkpoint("w-1", [observed]))
    store.close()
    return made.task_id


def test_each_edge_is_shown_with_its_times_and_its_error(run: Run, task_id: str) -> None:
    code, out, err = run("show", task_id)

    assert (code, err) == (0, "")
    assert "s3cret" not in out
    [north] = [line for line in out.splitlines() if line.startswith("north")]
    assert north.split()[1:4] == ["rtmp", "domestic", "flowing"]
    assert {"1234", "56"} <= set(north.split())
    [south] = [line for line in out.splitlines() if line.startswith("south")]
    assert south.endswith("connection refused")
    assert "task.created" in out


def test_the_same_for_scripts(run: Run, task_id: str) -> None:
    _, out, _ = run("show", task_id, "--json")
    task = json.loads(out)

    assert (task["id"], task["domain"], task["area"]) == (task_id, "play.example", "global")
    # Its time is over, and no report came in the last ten seconds of it.
    assert (task["status"], task["process"]) == ("failed", "0%")
    assert [(edge["cold_ms"], edge["warm_ms"], edge["error"]) for edge in task["edges"]] == [
        (1234, 56, ""),
        (None, None, "connection refused"),
    ]
    assert task["events"][0]["name"] == "task.created"


def test_all_tasks_are_listed(run: Run, task_id: str) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert "s3cret" not in out
    [line] = [line for line in out.splitlines() if line.startswith(task_id)]
    assert line.split()[1:4] == ["failed", "0%", "global"]
    assert [task["id"] for task in json.loads(run("list", "--account", "demo", "--json")[1])] == [task_id]
    assert run("list", "--account", "nobody")[0] == 1


def test_unknown_task_is_refused(run: Run, task_id: str) -> None:
    code, _, err = run("show", "nobody")

    assert code == 1
    assert "does not exist" in err
