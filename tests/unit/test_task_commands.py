"""`penstock task create`, `restart` and `watch`, on a DATA on which no server runs."""

import json
import sys
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from penstock.cli import main, watching
from penstock.cli.rows import place
from penstock.tasks.accounts import create_account
from penstock.tasks.families import pull
from tests.unit.making import NOW, claim, open_new

Run = Callable[..., tuple[int, str, str]]

FILES = ("https://media.example/a.mp4?key=hush", "https://media.example/b.mp4?key=hush")
TO = "rtmp://sink.example/live/news-channel-7"


@pytest.fixture
async def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs commands with the account `demo`."""
    store = open_new(tmp_path)
    await create_account(store, "demo")
    store.close()

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["penstock", "task", *words, "--data", str(tmp_path)])
        with pytest.raises(SystemExit) as exit_:
            main()
        code = exit_.value.code or 0
        assert isinstance(code, int)
        return code, *capsys.readouterr()

    return run


def spec_of(data: Path, task_id: str) -> pull.PullSpec:
    """What was asked of a task."""
    store = open_new(data)
    task = store.read_now(lambda tx: tx.task(1, "pull", task_id))
    store.close()
    assert task is not None
    return pull.decode(task.spec)


def test_channel_is_created_with_all_that_was_said(run: Run, tmp_path: Path) -> None:
    words = ["--files", *FILES, "--to", TO, "--loops", "3", "--file-index", "2", "--offset", "7", "--refresh", "after"]
    more = [
        "--local",
        "--comment",
        "night",
        "--backup-to",
        "rtmp://sink.example/live/b",
        "--start",
        "1h",
        "--end",
        "2h",
    ]
    assert run("create", *words, *more) == (0, "10001\n", "")
    spec = spec_of(tmp_path, "10001")
    assert (spec.source_type, spec.source_urls, spec.to_url) == ("PullVodPushLive", FILES, TO)
    assert (spec.vod_loop_times, spec.file_index, spec.offset_time) == (3, 2, 7)
    assert (spec.vod_refresh_type, spec.vod_local_mode) == ("ContinueBreakPoint", 1)
    assert (spec.comment, spec.backup_to_url) == ("night", "rtmp://sink.example/live/b")


def test_live_task_may_be_named_and_have_a_backup(run: Run, tmp_path: Path) -> None:
    words = ["--to", TO, "--backup", "rtmp://b.example/live/b", "--id", "news"]
    code, out, _ = run("create", "rtmp://a.example/live/a", *words, "--json")
    assert (code, json.loads(out)) == (0, {"id": "news"})
    spec = spec_of(tmp_path, "news")
    assert (spec.source_type, spec.backup_source_type) == ("PullLivePushLive", "PullLivePushLive")
    assert spec.backup_source_url == "rtmp://b.example/live/b"
    assert run("create", "rtmp://a.example/live/a", "--to", TO, "--backup-file", FILES[0], "--id", "filler")[0] == 0
    spec = spec_of(tmp_path, "filler")
    assert (spec.backup_source_type, spec.backup_source_url) == ("PullVodPushLive", FILES[0])


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ([*FILES, "--to", TO], 2, "several URLs can only be files: add --files"),
        ([FILES[0]], 2, "Missing option '--to'"),
        ([FILES[0], "--to", TO, "--backup", FILES[1], "--backup-file", FILES[1]], 2, "one source stands in"),
        ([FILES[0], "--to", TO, "--start", "soon"], 2, "no span like 30s, 10m or 2h"),
        ([FILES[0], "--to", "nowhere"], 1, "penstock: ToUrl: "),
        (["--files", FILES[0], "--to", TO, "--file-index", "2"], 1, "penstock: FileIndex must be 1 to 1"),
        (["--files", "http://10.0.0.1/a.mp4", "--to", TO], 1, "network.allow"),
    ],
)
def test_what_cannot_be_is_said(run: Run, words: list[str], code: int, complaint: str) -> None:
    ended, out, err = run("create", *words)
    assert (ended, out) == (code, "")
    assert complaint in err
    assert "hush" not in err


def test_task_that_is_not_there_is_not_restarted_or_watched(run: Run) -> None:
    for command in ("restart", "watch"):
        assert run(command, "10001") == (1, "", "penstock: The task does not exist.\n")


def test_restart_is_said(run: Run, tmp_path: Path) -> None:
    run("create", FILES[0], "--to", TO)
    code, out, _ = run("restart", "10001", "--json")
    assert (code, json.loads(out)) == (0, {"id": "10001"})
    assert spec_of(tmp_path, "10001").restarts == 1


def test_tasks_are_told_apart_without_their_keys(run: Run, tmp_path: Path) -> None:
    run("create", "rtmp://a.example/live/camera1", "--to", TO)
    run("create", "rtmp://a.example/live/camera2", "--to", TO)
    store = open_new(tmp_path)
    claim(store, "w-1")
    store.close()
    _, listed, _ = run("list")
    assert "rtmp://a.example/live/c***1" in listed
    assert "rtmp://a.example/live/c***2" in listed
    assert "rtmp://sink.example/live/ne***-7" in listed


def files(**fields: Any) -> dict[str, Any]:
    """12.9 s into the second of three files, in the third of five rounds."""
    values = {"file": 2, "files": 3, "url": "http://h/b.mp4?key=***", "offset_ms": 12_900, "duration_ms": 60_000}
    return {**values, "next_url": "http://h/c.mp4", "looped": 2, "rounds": 5} | fields


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "2 of 3, 0:12 of 1:00, round 3 of 5: http://h/b.mp4?key=***"),
        ({"rounds": None}, "2 of 3, 0:12 of 1:00, round 3: http://h/b.mp4?key=***"),
        ({"duration_ms": None, "offset_ms": 0}, "2 of 3, 0:00, round 3 of 5: http://h/b.mp4?key=***"),
        ({"looped": 5}, "5 rounds played"),
        ({"looped": 1, "rounds": 1}, "1 round played"),
    ],
)
def test_place_in_files_is_told_in_words(fields: dict[str, Any], words: str) -> None:
    assert place(files(**fields)) == words


def task(**fields: Any) -> dict[str, Any]:
    """A channel on the air at NOW."""
    values: dict[str, Any] = {"id": "10001", "state": "active", "files": files(), "on_air": "source", "error": ""}
    values |= {"on_air_since": "2026-01-31T09:00:00.000Z", "lead_ms": 0, "switches": {}, "source": "http://h/b.mp4"}
    values |= {"media_ms": 3_723_000, "bitrate": 2_510_000, "uptime_s": 3723, "destination": "rtmp://h/live/ne***-7"}
    return {**values, "end_at": "2026-01-31T12:00:00.000Z"} | fields


def shown(row: Mapping[str, Any]) -> str:
    """A frame as a terminal has it."""
    console = Console(width=80, record=True, file=StringIO())
    console.print(watching.frame(row, NOW))
    return console.export_text()


def test_frame_shows_how_far_the_file_and_the_list_are() -> None:
    text = shown(task())
    lines = text.splitlines()
    assert lines[0].split() == ["task", "10001", "active"]
    assert "0:12 of 1:00, 0:47 left" in text
    assert "file 2 of 3, round 3 of 5" in text
    assert "in 2:00:00" in text
    assert "2.51 Mbit/s, up for 1:02:03" in text
    # 12.9 s of 60 s, and 1.215 files of 3, of 50 columns.
    assert [line.count("━") for line in lines if "━" in line] == [10, 20]


def test_frame_of_a_live_task_shows_what_was_delivered_and_what_is_wrong() -> None:
    text = shown(task(files=None, state="inactive", on_air="", error="connection refused, retry 7 in 8 s"))
    assert "1:02:03 delivered" in text
    assert "on air  nothing" in text
    assert "error   connection refused, retry 7 in 8 s" in text


def test_line_says_the_same_where_there_is_no_terminal() -> None:
    assert watching.line(task(), NOW) == (
        "2026-01-31T10:00:00.000Z  active, file 2 of 3, 0:12 of 1:00, round 3 of 5: http://h/b.mp4?key=***,"
        " then http://h/c.mp4, on air source, 2.51 Mbit/s"
    )
    live = watching.line(task(files=None, on_air="", bitrate=0, error="refused"), NOW)
    assert live == "2026-01-31T10:00:00.000Z  active, media 1:02:03, nothing on air, -, error: refused"
