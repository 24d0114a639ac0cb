"""All settings of a process, typed and frozen.

A setting is ``section.key``. Its value comes from a flag, else from the environment
(``PENSTOCK_SECTION_KEY``), else from ``penstock.toml``, else it is the default. `penstock.config.table` is
the table from which loading, validation and ``penstock config`` follow.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from penstock.config import table
from penstock.config.values import Address as Address
from penstock.config.values import Inherited as Inherited
from penstock.config.values import Listen as Listen
from penstock.config.values import Network as Network
from penstock.errors import ConfigError

#: In DATA.
DEFAULT_FILE = "penstock.toml"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One setting as it stands, for people: what `penstock config` prints. Secrets are masked."""

    name: str
    value: str
    #: ``default``, the flag, the variable, or the file's path.
    source: str
    meaning: str
    served: bool


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings, typed. A process is handed one and never looks elsewhere."""

    data: Path = Path("penstock-data")
    server: table.ServerSettings = field(default_factory=table.ServerSettings)
    api: table.ApiSettings = field(default_factory=table.ApiSettings)
    network: table.NetworkSettings = field(default_factory=table.NetworkSettings)
    public: table.PublicSettings = field(default_factory=table.PublicSettings)
    database: table.DatabaseSettings = field(default_factory=table.DatabaseSettings)
    nats: table.NatsSettings = field(default_factory=table.NatsSettings)
    security: table.SecuritySettings = field(default_factory=table.SecuritySettings)
    tls: table.TlsSettings = field(default_factory=table.TlsSettings)
    log: table.LogSettings = field(default_factory=table.LogSettings)
    worker: table.WorkerSettings = field(default_factory=table.WorkerSettings)
    hub: table.HubSettings = field(default_factory=table.HubSettings)
    source: table.SourceSettings = field(default_factory=table.SourceSettings)
    sink: table.SinkSettings = field(default_factory=table.SinkSettings)
    slate: table.SlateSettings = field(default_factory=table.SlateSettings)
    media: table.MediaSettings = field(default_factory=table.MediaSettings)
    files: table.FilesSettings = field(default_factory=table.FilesSettings)
    link: table.LinkSettings = field(default_factory=table.LinkSettings)
    live: table.LiveSettings = field(default_factory=table.LiveSettings)
    preload: table.PreloadSettings = field(default_factory=table.PreloadSettings)

    #: The file that was asked for or found; None: none.
    file: Path | None = None
    rows: tuple[Row, ...] = ()
    #: What a user should know before the start: unknown names, settings that nothing follows yet.
    warnings: tuple[str, ...] = ()

    @property
    def run(self) -> Path:
        """Where the run sockets and lock files are."""
        return self.data / "run"


SECTIONS: Mapping[str, type] = {
    part.name: part.type
    for part in fields(Config)
    if isinstance(part.type, type) and part.type.__name__.endswith("Settings")
}


def setting_names() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Section, key and table row of every setting, in the table's order."""
    for section, settings in SECTIONS.items():
        for part in fields(settings):
            yield section, part.name, part.metadata


def variable(section: str, key: str) -> str:
    """The setting's name in the environment."""
    return f"PENSTOCK_{section}_{key}".upper()


def load(
    data: Path,
    file: Path | None = None,
    *,
    flags: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Gather all settings. Raise `ConfigError` with one clear line for a value that cannot be used.

    Args:
        data: DATA.
        file: the configuration file; None: ``DATA/penstock.toml`` if it is there.
        flags: texts given on the command line by ``section.key``; None values count as not given.
        environ: the environment; None: the process's own.
    """
    environ = os.environ if environ is None else environ
    data = data.absolute()
    file = _file_of(data, file)
    written = _read_file(file) if file is not None else {}
    given = {name: value for name, value in (flags or {}).items() if value is not None}

    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    rows: list[Row] = []
    for section, key, about in setting_names():
        name, env = f"{section}.{key}", variable(section, key)
        raw, source = about["default"], "default"
        if name in written:
            raw, source = written.pop(name), str(file)
        if env in environ:
            raw, source = environ[env].strip(), env
        if name in given:
            raw, source = given.pop(name), f"--{key}"
        try:
            values[section][key] = about["read"](raw)
        except ValueError as error:
            shown = "the value" if about["secret"] else f"'{raw}'"
            raise ConfigError(f"{name} (from {source}): {shown} {error}") from None
        shown = "***" if about["secret"] and raw else raw
        rows.append(Row(name=name, value=shown, source=source, meaning=about["meaning"], served=about["served"]))
    if given:
        raise ConfigError(f"no such setting: {', '.join(given)}")

    return Config(
        data=data,
        file=file,
        rows=tuple(rows),
        warnings=(*_unknown_variables(environ), *_unknown_keys(written, file), *_not_served(rows)),
        **{section: SECTIONS[section](**values[section]) for section in SECTIONS},
    )


def edge_tables(data: Path, file: Path | None = None) -> tuple[Path, Sequence[Mapping[str, object]]]:
    """The configuration file, and the edge nodes in it (``[[edge]]``) as it is now. Raise `ConfigError`.

    They are no settings: they are read when a server starts and at each SIGHUP, and kept in the store.
    """
    found = _file_of(data.absolute(), file)
    tables = _read_toml(found).get("edge", []) if found else []
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise ConfigError(f"edge (from {found}): each edge node is a table [[edge]]")
    return found or data / DEFAULT_FILE, tables


def _file_of(data: Path, file: Path | None) -> Path | None:
    """The configuration file: the one that is asked for, else DATA's own, if it is there."""
    own = data / DEFAULT_FILE
    return own if file is None and own.exists() else file


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"cannot read {file}: {error}") from None


def _read_file(file: Path) -> dict[str, str]:
    """The file's settings as texts, by ``section.key``."""
    found: dict[str, str] = {}
    for section, keys in _read_toml(file).items():
        if section == "edge":
            continue  # see `edge_tables`
        if isinstance(keys, dict):
            for key, value in keys.items():
                found[f"{section}.{key}"] = _as_text(value, f"{section}.{key} (from {file})")
        else:
            found[section] = ""  # a key outside any section: unknown
    return found


def _as_text(value: object, where: str) -> str:
    if isinstance(value, list):
        return ",".join(_as_text(item, where) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value).strip()
    raise ConfigError(f"{where}: a text, a number or a list of them is needed")


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    known = [variable(section, key) for section, key, _ in setting_names()]
    for name in sorted(environ):
        if name.startswith("PENSTOCK_") and name not in known:
            yield f"unknown variable {name} in the environment is ignored{_meant(name, known)}"


def _unknown_keys(left: Mapping[str, str], file: Path | None) -> Iterator[str]:
    known = [f"{section}.{key}" for section, key, _ in setting_names()]
    for name in left:
        yield f"unknown setting {name} in {file} is ignored{_meant(name, known)}"


def _meant(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.8)
    return f"; did you mean {close[0]}?" if close else ""


def _not_served(rows: list[Row]) -> Iterator[str]:
    asked = [row.name for row in rows if not row.served and row.source != "default" and row.value]
    if asked:
        yield f"nothing in this version follows {', '.join(asked)} yet"
