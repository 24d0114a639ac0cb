"""Copies of files on this machine: whole or not at all, bounded, and only of what is an MP4 file."""

import asyncio
import ipaddress
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.media.files.copies import Copies
from penstock.net import Policy
from tests.file_server import Fault, FileServer
from tests.patience import PATIENCE

SIZE = 400_000


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FileServer]:
    """Three files of the same size."""
    files = {}
    for name in "abc":
        files[f"/{name}.mp4"] = tmp_path / name
        (tmp_path / name).write_bytes(name.encode() * SIZE)
    async with FileServer(files) as server:
        yield server


def make(tmp_path: Path, limit: int = 1_000_000) -> Copies:
    """Copies that may be fetched from loopback."""
    return Copies(tmp_path / "copies", limit, Policy([ipaddress.ip_network("127.0.0.0/8")]))


async def found(copies: Copies, url: str) -> Path:
    """Wait for the copy."""
    async with asyncio.timeout(PATIENCE):
        while (path := copies.find(url)) is None:
            await asyncio.sleep(0.01)
    return path


async def over(copies: Copies) -> None:
    """Wait for the end of all that is being fetched."""
    async with asyncio.timeout(PATIENCE):
        while copies._fetching:
            await asyncio.sleep(0.01)


async def test_what_was_not_used_for_the_longest_time_makes_room(server: FileServer, tmp_path: Path) -> None:
    """There is room for two."""
    copies = make(tmp_path)
    first, second = [await found(copies, server.url(f"/{name}.mp4")) for name in "ab"]
    assert first.read_bytes() == b"a" * SIZE
    os.utime(second, (1, 1))
    left = tmp_path / "copies" / "part-of-another-life"
    left.touch()
    os.utime(left, (1, 1))
    third = await found(copies, server.url("/c.mp4"))
    async with asyncio.timeout(PATIENCE):
        while second.exists():
            await asyncio.sleep(0.01)
    assert sorted((tmp_path / "copies").iterdir()) == sorted([first, third])


@pytest.mark.parametrize("fault", [Fault(length_off=10), Fault(breaks_after=1000)])
async def test_a_file_that_does_not_come_whole_is_no_copy(server: FileServer, tmp_path: Path, fault: Fault) -> None:
    """Nor is it asked for again at once."""
    copies = make(tmp_path)
    server.faults["/a.mp4"] = fault
    for _ in range(3):
        assert copies.find(server.url("/a.mp4")) is None
        await over(copies)
    assert list((tmp_path / "copies").iterdir()) == []
    assert len(server.requests) == 1


async def test_what_is_too_large_or_no_mp4_is_not_copied(server: FileServer, tmp_path: Path) -> None:
    """Without room nothing is."""
    for copies, name in ((make(tmp_path, SIZE - 1), "a.mp4"), (make(tmp_path, 0), "a.mp4"), (make(tmp_path), "a.flv")):
        assert copies.find(server.url(f"/{name}")) is None
        await over(copies)
        assert not (tmp_path / "copies").exists() or list((tmp_path / "copies").iterdir()) == []
    assert [path for path, _ in server.requests] == ["/a.mp4"]


async def test_a_copy_that_cannot_be_played_is_dropped(server: FileServer, tmp_path: Path) -> None:
    """It is fetched anew when it is wanted again."""
    copies = make(tmp_path)
    await found(copies, server.url("/a.mp4"))
    copies.drop(server.url("/a.mp4"))
    assert copies.find(server.url("/a.mp4")) is None
    await found(copies, server.url("/a.mp4"))
