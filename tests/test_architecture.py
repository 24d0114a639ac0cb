"""The import rule of the package, kept: who may see whom, and nobody in a circle."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "penstock"
SOURCE = Path(__file__).parent.parent / "src" / PACKAGE

UTILITIES = {"errors", "log", "config", "net"}

#: Room -> what it may see of ours. A name stands for the file or folder of that name and all in it.
#: A room sees itself; it is the first part of a module's name.
MAY_SEE: dict[str, set[str]] = {
    "__main__": {"cli"},
    "cli": {"app", "tasks", *UTILITIES},
    "app": {
        *{"parent", "api", "console", "callbacks", "worker", "hub", "doctor"},
        *{"tasks", "store", "bus", "media"},
        *UTILITIES,
    },
    "parent": {"tasks", *UTILITIES},
    "api": {"tasks", *UTILITIES},
    "console": {"tasks", *UTILITIES},
    "callbacks": {"tasks", *UTILITIES},
    "worker": {"tasks", "media", *UTILITIES},
    "hub": {"tasks", "media", *UTILITIES},
    "doctor": UTILITIES,
    "tasks": {"media.plan", "media.srt", *UTILITIES},
    "store": {"tasks.model", "tasks.ports", "tasks.lifecycle", "errors", "log", "config"},
    "bus": {"tasks.model", "tasks.ports", "errors", "log", "config"},
    "media": {"errors", "log", "net"},
    "errors": UTILITIES,
    "log": UTILITIES,
    "config": UTILITIES,
    "net": UTILITIES,
}


def modules() -> dict[str, Path]:
    """Every module of the package by its name inside the package; the package itself is ''."""
    names = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(source: str, name: str, known: Mapping[str, Path]) -> set[str]:
    """The modules of ours that this text imports, anywhere: in functions and under TYPE_CHECKING too."""
    folder = name if name in known and known[name].name == "__init__.py" else name.rpartition(".")[0]
    return {
        target.removeprefix(PACKAGE).removeprefix(".")
        for node in ast.walk(ast.parse(source))
        for target in targets(node, folder, known)
        if target == PACKAGE or target.startswith(f"{PACKAGE}.")
    }


def targets(node: ast.AST, folder: str, known: Mapping[str, Path]) -> Iterator[str]:
    """The full names that one statement imports: `from a import b` is a.b if that is a module, else a."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parents = [PACKAGE, *folder.split(".")] if folder else [PACKAGE]
        parents = parents[: len(parents) + 1 - node.level] if node.level else []
        base = ".".join([*parents, *([node.module] if node.module else [])])
        for alias in node.names:
            deeper = f"{base}.{alias.name}"
            yield deeper if deeper.removeprefix(f"{PACKAGE}.") in known else base


def violations(source: str, name: str, known: Mapping[str, Path]) -> list[str]:
    """What this text, as module `name`, sees and may not."""
    room = name.partition(".")[0]
    if room and room not in MAY_SEE:
        return [f"{name}: {room} is a new room; say in MAY_SEE what it may see"]
    allowed = {room, *MAY_SEE.get(room, set())} - {""}
    return [
        f"{name or PACKAGE} imports {target}; {room or 'the package itself'} may see only {sorted(allowed)}"
        for target in sorted(imports(source, name, known) - {""})
        if not any(f"{target}.".startswith(f"{seen}.") for seen in allowed)
    ]


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """One circle of imports, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_room_sees_only_what_it_may() -> None:
    known = modules()
    assert [broken for name, path in known.items() for broken in violations(path.read_text(), name, known)] == []


def test_no_import_goes_in_a_circle() -> None:
    known = modules()
    assert cycle({name: imports(path.read_text(), name, known) - {name} for name, path in known.items()}) == []


# The rule itself is tried on planted texts, in a package that has these modules.
PLANTED = {
    name: Path(path)
    for name, path in {
        "": "__init__.py",
        "app": "app.py",
        "api": "api/__init__.py",
        "api.server": "api/server.py",
        "bus.local": "bus/local.py",
        "cli": "cli/__init__.py",
        "hub": "hub/__init__.py",
        "media": "media/__init__.py",
        "media.plan": "media/plan.py",
        "media.pump": "media/pump.py",
        "media.rtmp": "media/rtmp/__init__.py",
        "media.rtmp.chunk": "media/rtmp/chunk.py",
        "net": "net.py",
        "store.sql": "store/sql.py",
        "tasks": "tasks/__init__.py",
        "tasks.model": "tasks/model.py",
        "tasks.families.pull": "tasks/families/pull.py",
        "tasks.service": "tasks/service.py",
        "worker.agent": "worker/agent.py",
    }.items()
}


@pytest.mark.parametrize(
    ("name", "source", "seen"),
    [
        ("tasks.service", "import penstock.store.sql", "store.sql"),
        ("tasks.service", "import json, penstock.store.sql as sql", "store.sql"),
        ("tasks.service", "from penstock.media.pump import Pump", "media.pump"),
        ("tasks.service", "from penstock.media import pump", "media.pump"),
        ("tasks.service", "from penstock.media import Pump", "media"),
        ("tasks.service", "from penstock import media", "media"),
        ("tasks.service", "from ..media import pump", "media.pump"),
        ("tasks.families.pull", "from ...media.pump import Pump", "media.pump"),
        ("tasks", "from ..media.pump import Pump", "media.pump"),
        ("tasks.service", "def f():\n    from penstock.worker.agent import Agent", "worker.agent"),
        ("api.server", "if TYPE_CHECKING:\n    from penstock.hub import Hub", "hub"),
        ("api", "from .. import app", "app"),
        ("worker.agent", "from penstock.store.sql import Store", "store.sql"),
        ("worker.agent", "from penstock.hub import Hub", "hub"),
        ("store.sql", "from penstock.tasks.service import Service", "tasks.service"),
        ("store.sql", "from penstock.tasks import Task", "tasks"),
        ("bus.local", "from penstock.media.plan import Plan", "media.plan"),
        ("media.rtmp.chunk", "from ...tasks.model import Task", "tasks.model"),
        ("net", "from penstock.tasks.model import Task", "tasks.model"),
        ("app", "from penstock.cli import main", "cli"),
        ("", "from penstock.app import serve", "app"),
    ],
)
def test_planted_violation_is_found(name: str, source: str, seen: str) -> None:
    [found] = violations(source, name, PLANTED)
    assert found.startswith(f"{name or PACKAGE} imports {seen};")


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("tasks.service", "import asyncio\nfrom sqlalchemy import store"),
        ("tasks.service", "from penstock.media.plan import Plan"),
        ("tasks.service", "from ..media import plan\nfrom .model import Task\nfrom . import model"),
        ("store.sql", "from penstock.tasks.model import Task\nfrom penstock.tasks import model"),
        ("media.rtmp", "from .chunk import Reader\nfrom ..pump import Pump\nfrom penstock import net"),
        ("hub", "from penstock import __version__\nfrom penstock.media.rtmp import chunk"),
        ("app", "from penstock.store.sql import Store\nfrom penstock.bus import local"),
        ("", "import sys"),
    ],
)
def test_lawful_import_passes(name: str, source: str) -> None:
    assert violations(source, name, PLANTED) == []


def test_unknown_room_must_be_put_into_the_table() -> None:
    assert violations("", "shed", PLANTED) == ["shed: shed is a new room; say in MAY_SEE what it may see"]


def test_circle_is_found() -> None:
    assert {"a", "b"} == set(cycle({"a": {"b"}, "b": {"a"}, "c": {"a"}}))
    assert cycle({"a": {"b", "c"}, "b": {"c"}}) == []
