"""Settings: where a value comes from, what is refused, and what is only doubted."""

import dataclasses
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import config
from penstock.config import Address, Inherited
from penstock.config.values import address
from penstock.errors import ConfigError

#: Those that the public surface names.
PROMISED = {
    *("network.allow", "database.url", "nats.url", "media.ffmpeg", "public.host", "hub.domains"),
    *("link.port_range", "live.max_task_days", "live.task_limit", "worker.tick", "hub.tick", "worker.capacity"),
    *("sink.hold", "tls.insecure_hosts", "tls.certificate", "tls.key", "security.key", "log.level", "log.format"),
    *("server.http", "server.https", "server.media", "server.rtmp", "server.srt", "server.workers"),
    *("server.watchdog", "source.stall", "slate.mode", "slate.picture"),
}


def load(data: Path, file: Path | None = None, **given: object) -> config.Config:
    """The settings without this machine's own environment."""
    return config.load(data, file, **{"environ": {}, **given})  # type: ignore[arg-type]


def source(loaded: config.Config, name: str) -> str:
    [row] = [row for row in loaded.rows if row.name == name]
    return row.source


def test_every_promised_setting_exists_and_says_what_it_means(tmp_path: Path) -> None:
    rows = {row.name: row for row in load(tmp_path).rows}
    assert set() == PROMISED - rows.keys()
    assert [name for name, row in rows.items() if len(row.meaning.split()) < 3] == []


def test_defaults_are_typed(tmp_path: Path) -> None:
    found = load(tmp_path)
    assert (Address("127.0.0.1", 8080), Address("127.0.0.1", 1935)) == (found.server.http, found.server.rtmp)
    assert (found.server.https, found.hub.domains) == (None, ("localhost", "hub.penstock"))
    assert (
        found.live.max_task_days,
        found.live.task_limit,
        found.sink.hold,
        found.worker.tick,
        found.hub.tick,
        found.server.watchdog,
    ) == (30, 20, 30.0, 40, 10, 10.0)
    assert 1 <= found.server.workers <= 4
    assert found.warnings == ()


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load(tmp_path).server.workers = 3  # type: ignore[misc]


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text("[live]\nmax_task_days = 1\ntask_limit = 1\n[hub]\ntick = 1\n[sink]\nhold = 1.5\n")
    environ = {"PENSTOCK_LIVE_MAX_TASK_DAYS": "2", "PENSTOCK_LIVE_TASK_LIMIT": " 2 "}
    found = load(tmp_path, environ=environ, flags={"live.max_task_days": "3", "hub.tick": None})
    assert (
        found.live.max_task_days,
        found.live.task_limit,
        found.hub.tick,
        found.sink.hold,
        found.worker.tick,
    ) == (3, 2, 1, 1.5, 40)
    names = ["live.max_task_days", "live.task_limit", "hub.tick", "worker.tick"]
    assert ["--max_task_days", "PENSTOCK_LIVE_TASK_LIMIT", str(file), "default"] == [
        source(found, name) for name in names
    ]


def test_file_may_write_lists_and_numbers(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text(
        '[network]\nallow = ["10.0.0.0/8", "::1/128"]\n[server]\nworkers = 3\nhttp = "[::1]:0"\n'
    )
    found = load(tmp_path)
    assert (ip_network("10.0.0.0/8"), ip_network("::1/128")) == found.network.allow
    assert (3, Address("::1", 0)) == (found.server.workers, found.server.http)


def test_file_of_another_place_is_read_instead(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text("[live]\ntask_limit = 1\n")
    other = tmp_path / "other.toml"
    other.write_text("[live]\ntask_limit = 2\n")
    assert load(tmp_path, other).live.task_limit == 2


def test_unknown_variable_is_doubted_and_never_refused(tmp_path: Path) -> None:
    found = load(tmp_path, environ={"PENSTOCK_FOO": "1", "PENSTOCK_NETWORK_ALOW": "x", "OTHER": "1"})
    assert found.warnings == (
        "unknown variable PENSTOCK_FOO in the environment is ignored",
        "unknown variable PENSTOCK_NETWORK_ALOW in the environment is ignored; did you mean PENSTOCK_NETWORK_ALLOW?",
    )


def test_unknown_key_in_the_file_is_doubted(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text("loose = 1\n[live]\ntask_limt = 1\n[attic]\nbox = 1\n")
    environ = {"PENSTOCK_LIVE_TASK_LIMIT": "3"}
    assert (
        f"unknown setting loose in {file} is ignored",
        f"unknown setting live.task_limt in {file} is ignored; did you mean live.task_limit?",
        f"unknown setting attic.box in {file} is ignored",
    ) == load(tmp_path, environ=environ).warnings


def test_setting_that_nothing_follows_yet_is_accepted_and_said_in_one_line(tmp_path: Path) -> None:
    found = load(tmp_path, environ={"PENSTOCK_NATS_URL": "nats://n"}, flags={"server.srt": "127.0.0.1:0"})
    assert found.warnings == ("nothing in this version follows server.srt, nats.url yet",)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("server.workers", "many", "server.workers (from --workers): 'many' is not a whole number"),
        ("server.workers", "0", "server.workers (from --workers): '0' is not between 1 and 256"),
        ("server.http", "8080", "server.http (from --http): '8080' is not HOST:PORT"),
        ("server.http", "h:70000", "server.http (from --http): 'h:70000' is not HOST:PORT"),
        ("server.http", "", "server.http (from --http): '' is not HOST:PORT"),
        ("sink.hold", "nan", "sink.hold (from --hold): 'nan' is not between 0 and 86400 seconds"),
        ("sink.hold", "1m", "sink.hold (from --hold): '1m' is not a number of seconds"),
        ("log.format", "xml", "log.format (from --format): 'xml' is not one of text, json"),
        ("link.port_range", "9-8", "link.port_range (from --port_range): '9-8' is not a range of ports such as"),
        (
            "network.allow",
            "10.0.0.1/8",
            "network.allow (from --allow): '10.0.0.1/8' is not a comma-separated list of networks",
        ),
    ],
)
def test_bad_value_is_refused_in_one_line(tmp_path: Path, name: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, flags={name: value})
    assert str(refused.value).startswith(words)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["[live", "[live]\ntask_limit = 1979-05-27", "\udcff"])
def test_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "penstock.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=r"penstock\.toml"):
        load(tmp_path)


def test_file_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*no\.toml: No such file"):
        load(tmp_path, tmp_path / "no.toml")


def test_secrets_are_not_printed(tmp_path: Path) -> None:
    found = load(tmp_path, environ={"PENSTOCK_SECURITY_KEY": "s3cret", "PENSTOCK_DATABASE_URL": "x://u:s3cret@h"})
    assert (found.security.key, found.database.url) == ("s3cret", "x://u:s3cret@h")
    assert "s3cret" not in str(found.rows)


def test_inherited_socket_may_stand_for_an_address(tmp_path: Path) -> None:
    assert load(tmp_path, flags={"server.http": "fd:7"}).server.http == Inherited(7)


@given(host=st.one_of(st.ip_addresses().map(str), st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True)))
def test_address_reads_what_it_writes(host: str) -> None:
    assert address(str(Address(host, 1935))) == Address(host, 1935)
