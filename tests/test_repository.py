"""What is committed holds everywhere: no registry's address, no path of one machine, whole locks."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Written in pieces, so that this file does not hold what it looks for.
REGISTRIES = [
    *("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "deb.debian" + ".org"),
    *("crates" + ".io", "proxy.golang" + ".org", "repo.maven" + ".apache"),
    "GOPROXY" + "=",
]
#: A setting of npm begins its line or is an option; an argument of that name is Python's.
REGISTRY = re.compile("|".join(map(re.escape, REGISTRIES)) + r"|(?<!no-emit-)index-" + r"url|(?:^|--)registry=")
MACHINE_PATH = re.compile(r"/(home|Users)/\w|/(root|work)/|" + re.escape(str(ROOT)))
PINNED = re.compile(r"^([a-z0-9._-]+)(?:\[.*\])?==\S+(?: ; [^\\]+)? \\\n    --hash=sha256:", re.MULTILINE)


def committed(*folders: str) -> dict[str, str]:
    """Every text file that git holds, by its path."""
    listing = subprocess.run(["git", "ls-files", "-z", "--", *folders], cwd=ROOT, capture_output=True, check=True)
    paths = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    contents = {path: path.read_bytes() for path in paths if path.is_file()}
    return {str(path.relative_to(ROOT)): content.decode() for path, content in contents.items() if b"\0" not in content}


def hits(pattern: re.Pattern[str], files: dict[str, str]) -> list[str]:
    """Where the pattern stands, as file:line: text."""
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_package_registry() -> None:
    assert hits(REGISTRY, committed()) == []


def test_no_source_holds_a_path_of_one_machine() -> None:
    assert hits(MACHINE_PATH, committed("src")) == []


@pytest.mark.parametrize("text", ["https://pypi" + ".org/simple", "--index-" + "url=x", "registry" + "=x"])
def test_planted_registry_is_found(text: str) -> None:
    assert [f"a:2: {text}"] == hits(REGISTRY, {"a": f"--no-emit-index-url\n{text}"})


def test_planted_path_is_found() -> None:
    assert hits(MACHINE_PATH, {"a": "/home/me/x\n/var/lib/penstock"}) == ["a:1: /home/me/x"]


@pytest.mark.parametrize(
    ("lock", "groups"),
    [("requirements.lock", ["dev"])]
    + [(f"requirements-{name}.lock", [name]) for name in ("mainland", "tccli", "tccli-intl", "alibaba")],
)
def test_lock_pins_every_dependency_with_a_hash(lock: str, groups: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [name for group in groups for name in project["dependency-groups"][group]]
    wanted += project["project"]["dependencies"] if "dev" in groups else []
    text = (ROOT / lock).read_text()
    pinned = PINNED.findall(text)
    assert len(pinned) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE))
    names = {re.split(r"[^A-Za-z0-9._-]", name)[0].lower().replace("_", "-") for name in wanted}
    assert set() == names - set(pinned)
