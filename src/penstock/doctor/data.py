"""What lies in DATA: whether it is sound, and for our eyes only."""

import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from penstock.config import Config
from penstock.doctor.finding import Finding
from penstock.errors import DatabaseDamaged, PenstockError

#: Free bytes below which there is something to say: a full disk changes no task any more.
LITTLE, TOO_LITTLE = 1 << 30, 100 << 20
#: A certificate that ends so soon should be renewed.
SOON = timedelta(days=21)


def folder(data: Path) -> Finding:
    """Whether we may write there, and others may not read."""
    name = "data"
    if not data.exists():
        return Finding.ok(name, f"{data} is not there yet; `penstock serve` makes it")
    try:
        with tempfile.TemporaryFile(dir=data):
            pass
    except OSError as error:
        advice = "run Penstock as its owner, on a file system that can be written"
        return Finding.fail(name, f"{data} cannot be written: {error.strerror}", advice)
    mode = data.stat().st_mode & 0o777
    if mode & 0o077:
        return Finding.warn(name, f"{data} is open to others (mode {mode:o})", f"chmod 700 {data}")
    return Finding.ok(name, f"{data} can be written")


def disk(data: Path) -> Finding:
    """Whether there is room."""
    there = next(path for path in (data, *data.parents) if path.exists())
    free, files = shutil.disk_usage(there).free, os.statvfs(there)
    text = f"{free / (1 << 30):.1f} GiB are free"
    advice = "make room: on a full disk no task can be changed, though streams go on"
    if free < TOO_LITTLE or (files.f_files and files.f_favail < 1000):
        return Finding.fail("disk", f"{text}, and {files.f_favail} files may be made", advice)
    if free < LITTLE:
        return Finding.warn("disk", text, advice)
    return Finding.ok("disk", text)


def key(config: Config) -> Finding:
    """Whether the key of the secrets is there for us alone; whether it fits is found with the database."""
    path = config.data / "secret.key"
    if config.security.key:
        return Finding.ok("key", "the setting security.key")
    try:
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        return Finding.ok("key", f"{path} is not there yet; it is made with the database")
    except OSError as error:
        return Finding.fail("key", f"{path} cannot be read: {error.strerror}", "run Penstock as the owner of DATA")
    if mode & 0o077:
        return Finding.fail("key", f"{path} is open to others (mode {mode:o})", f"chmod 600 {path}")
    return Finding.ok("key", str(path))


def database(look: Callable[[], str]) -> Finding:
    """Whether it can be used, is whole, and fits its key."""
    try:
        return Finding.ok("database", look())
    except DatabaseDamaged as error:
        advice = "stop the server and restore a backup into a fresh DATA, unless the line above says what to do"
        return Finding.fail("database", error.message, advice)
    except PenstockError as error:
        advice = "mend what the line above names: the database, its key, or the settings that name them"
        return Finding.fail("database", error.message, advice)


def certificate(config: Config, look: Callable[[], datetime | None], now: datetime) -> Finding:
    """Whether the one that HTTPS shows can be used, and for how long."""
    name = "certificate"
    if config.server.https is None:
        return Finding.ok(name, "HTTPS is off")
    try:
        end = look()
    except PenstockError as error:
        return Finding.fail(name, error.message, "mend tls.certificate and tls.key")
    if end is None:
        return Finding.ok(name, "one of our own will be made")
    text = f"{'ended' if end <= now else 'ends'} on {end:%Y-%m-%d}"
    advice = "renew it, then `systemctl reload penstock` (or SIGHUP); one of our own is renewed by that alone"
    if end <= now:
        return Finding.fail(name, text, advice)
    return Finding.warn(name, text, advice) if end - now < SOON else Finding.ok(name, text)
