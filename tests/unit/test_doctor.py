"""Every ill that the doctor finds, each of a kind that a machine or a DATA really has."""

import ctypes
import os
import resource
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock.config import Config, load
from penstock.doctor import Finding, Insight, Level, data, examine, machine, programs
from penstock.errors import StoreError
from penstock.store.inspection import describe
from penstock.store.migrations import revisions
from tests.unit.making import open_new

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A DATA as `serve` leaves it."""
    folder = tmp_path / "data"
    open_new(folder).close()
    return folder


def config(folder: Path, **settings: str) -> Config:
    """The settings, with ``server_http="…"`` for server.http."""
    environ = {f"PENSTOCK_{name.upper()}": value for name, value in settings.items()}
    return load(folder, environ=environ)


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(stat.S_IRWXU)
    return path


def look(folder: Path) -> Finding:
    return data.database(lambda: describe("", folder, None))


class TestData:
    """What lies in DATA."""

    def test_sound_data_has_nothing_to_say(self, folder: Path) -> None:
        found = [data.folder(folder), data.key(config(folder)), look(folder)]
        assert [(one.level, one.advice) for one in found] == [(Level.OK, "")] * 3
        assert found[2].text == f"{folder}/penstock.db has schema {revisions()[-1]}"

    def test_data_that_is_not_there_is_no_ill_and_is_not_made(self, tmp_path: Path) -> None:
        folder = tmp_path / "deep" / "data"
        found = [data.folder(folder), data.disk(folder), data.key(config(folder)), look(folder)]
        assert {one.level for one in found} == {Level.OK}
        assert list(tmp_path.iterdir()) == []

    def test_data_and_key_that_others_may_read_are_told_with_the_remedy(self, folder: Path) -> None:
        folder.chmod(0o755)
        (folder / "secret.key").chmod(0o644)
        assert data.folder(folder)[::3] == (Level.WARN, f"chmod 700 {folder}")
        assert data.key(config(folder))[::3] == (Level.FAIL, f"chmod 600 {folder}/secret.key")

    def test_data_that_cannot_be_written_fails(self, tmp_path: Path) -> None:
        (tmp_path / "data").write_text("")
        found = data.folder(tmp_path / "data")
        assert (found.level, found.text) == (Level.FAIL, f"{tmp_path}/data cannot be written: Not a directory")

    @pytest.mark.parametrize(("free", "level"), [(2 << 30, Level.OK), (500 << 20, Level.WARN), (1 << 20, Level.FAIL)])
    def test_disk_that_is_nearly_full_is_told(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level
    ) -> None:
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
        assert data.disk(folder).level is level

    def test_damaged_database_fails(self, folder: Path) -> None:
        path = folder / "penstock.db"
        content = bytearray(path.read_bytes())
        content[8192:12288] = b"\xff" * 4096
        path.write_bytes(content)
        found = look(folder)
        assert found.level is Level.FAIL
        assert "damaged" in found.text or "malformed" in found.text
        assert "restore a backup" in found.advice
        assert path.read_bytes() == content

    def test_database_that_is_away_is_no_reason_to_restore_one(self, folder: Path) -> None:
        found = data.database(lambda: describe("postgresql://postgres@/penstock?host=/nowhere", folder, None))
        assert found.level is Level.FAIL
        assert "cannot answer" in found.text
        assert "restore" not in found.advice

    def test_key_that_does_not_fit_fails(self, folder: Path) -> None:
        (folder / "secret.key").write_text("ab" * 32)
        assert look(folder)[0::2] == (
            Level.FAIL,
            "The security key is not the one that this database was written with.",
        )

    @pytest.mark.parametrize(
        ("days", "level", "text"),
        [(100, Level.OK, "ends on 2027-03-01"), (20, Level.WARN, "ends on"), (-1, Level.FAIL, "ended on 2026-11-20")],
    )
    def test_certificate_that_ends_soon_is_told(self, folder: Path, days: int, level: Level, text: str) -> None:
        there = config(folder, server_https="127.0.0.1:0")
        found = data.certificate(there, lambda: NOW + timedelta(days=days), NOW)
        assert found.level is level
        assert found.text.startswith(text)


class TestPorts:
    """Whether they can be had."""

    @staticmethod
    def http(where: str, pid: int | None, folder: Path) -> Finding:
        return next(iter(machine.ports(config(folder, server_http=where), pid)))

    def test_port_that_is_free_or_chosen_is_well(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        assert self.http(f"127.0.0.1:{port}", None, tmp_path).text == f"127.0.0.1:{port} is free"
        assert self.http("127.0.0.1:0", None, tmp_path).level is Level.OK

    @pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
    def test_port_that_is_taken_names_who_has_it(self, tmp_path: Path, family: socket.AddressFamily) -> None:
        host = "127.0.0.1" if family is socket.AF_INET else "::1"
        with socket.create_server((host, 0), family=family) as taken:
            where = f"[{host}]:{taken.getsockname()[1]}"
            found = self.http(where, None, tmp_path)
            ours = self.http(where, os.getpid(), tmp_path)
        assert found.level is Level.FAIL
        assert f"(pid {os.getpid()})" in found.text
        assert "server.http" in found.advice
        assert ours.level is Level.OK

    def test_port_that_another_program_than_the_server_has_fails(self, tmp_path: Path) -> None:
        server = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            found = self.http(f"127.0.0.1:{taken.getsockname()[1]}", server.pid, tmp_path)
        server.kill()
        server.wait()
        assert found.level is Level.FAIL

    def test_address_of_another_machine_fails(self, tmp_path: Path) -> None:
        found = self.http("192.0.2.1:8080", None, tmp_path)
        assert (found.level, found.text.endswith("Cannot assign requested address")) == (Level.FAIL, True)


class TestMachine:
    """Time and files."""

    def test_clock_before_this_version_fails(self) -> None:
        assert machine.clock(datetime(1970, 1, 1, tzinfo=UTC)).level is Level.FAIL

    @pytest.mark.parametrize(
        ("answer", "level", "words"),
        [(0, Level.OK, "synchronised"), (5, Level.WARN, "nothing keeps it"), (-1, Level.OK, "cannot be told")],
    )
    def test_clock_says_what_the_kernel_says(
        self, monkeypatch: pytest.MonkeyPatch, answer: int, level: Level, words: str
    ) -> None:
        kernel = type("Kernel", (), {"adjtimex": staticmethod(lambda _timex: answer)})
        monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_options: kernel)
        found = machine.clock(NOW)
        assert found.level is level
        assert words in found.text

    def test_real_kernel_answers(self) -> None:
        assert machine.clock(NOW).level in (Level.OK, Level.WARN)

    @pytest.mark.parametrize(("hard", "level"), [(100_000, Level.OK), (-1, Level.OK), (1024, Level.WARN)])
    def test_low_limit_of_files_is_told(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, hard: int, level: Level
    ) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, hard))
        assert machine.files(config(folder)).level is level


class TestPrograms:
    """FFmpeg, libsrt, Chromium."""

    def test_ffmpeg_that_came_with_penstock_can_all_that_is_needed(self) -> None:
        from imageio_ffmpeg import get_ffmpeg_exe  # noqa: PLC0415

        found = programs.ffmpeg(Path(get_ffmpeg_exe()))
        assert (found.level, found.advice) == (Level.OK, "")

    @pytest.mark.parametrize(
        ("script", "level", "words"),
        [
            ("echo ffmpeg version 4.1; echo https, rtp", Level.WARN, "version 4.1, lacks httpproxy, crypto, srt"),
            ("echo hello", Level.FAIL, "is not FFmpeg"),
            ("exit 3", Level.FAIL, "exit status 3"),
        ],
    )
    def test_ffmpeg_of_another_kind_is_told(self, tmp_path: Path, script: str, level: Level, words: str) -> None:
        found = programs.ffmpeg(program(tmp_path / "ffmpeg", script))
        assert found.level is level
        assert words in found.text

    def test_ffmpeg_that_is_not_there_fails(self, tmp_path: Path) -> None:
        assert "No such file or directory" in programs.ffmpeg(tmp_path / "none").text

    def test_ffmpeg_that_hangs_is_given_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(programs, "PATIENCE", 0.2)
        assert "timed out" in programs.ffmpeg(program(tmp_path / "ffmpeg", "exec sleep 60")).text

    @pytest.mark.parametrize("check", [programs.libsrt, programs.chromium])
    def test_optional_program_that_is_missing_is_a_warning_with_its_package(
        self, check: Callable[[], Finding], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(programs, "LIBSRT", ("libno-such.so",))
        found = check()
        assert (found.level, found.text) == (Level.WARN, "is not there")
        assert "apt-get install " in found.advice

    def test_chromium_that_is_there_says_its_version(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(tmp_path / "chromium", "echo Chromium 156.0")
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        assert programs.chromium().text == f"{tmp_path}/chromium, Chromium 156.0"


def test_report_goes_on_after_a_failure(folder: Path) -> None:
    def broken() -> str:
        raise StoreError("The database is damaged: page 2.")

    insight = Insight(server=lambda: None, database=broken, certificate=lambda: None, ffmpeg=folder / "none")
    found = list(examine(config(folder, nonsense="1"), insight, NOW))
    assert [one.name for one in found if one.level is Level.FAIL] == ["database", "ffmpeg"]
    assert [one.text for one in found if one.name == "settings"] == [
        "unknown variable PENSTOCK_NONSENSE in the environment is ignored"
    ]
    assert all(bool(one.advice) == (one.level is not Level.OK) for one in found)
