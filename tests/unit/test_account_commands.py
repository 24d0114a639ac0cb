"""`penstock account`, `domain` and `usersig`: what they print, and how they end."""

import base64
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock.cli import main
from tests.packets import Clip
from tests.rtmp_peer import Origin, PeerThread

APP = 1400000001


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs commands on a fresh DATA with the account `demo`, on which no server ever ran."""

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["penstock", *words, "--data", str(tmp_path / "data")])
        with pytest.raises(SystemExit) as exit_:
            main()
        code = exit_.value.code or 0
        assert isinstance(code, int)
        return Done(code, *capsys.readouterr())

    assert run("account", "create", "demo", "--sdk-app-id", str(APP)).code == 0
    return run


def answer(run: Run, *words: str) -> Any:
    """What a command prints as JSON."""
    done = run(*words, "--json")
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def test_rotated_key_is_printed_once_and_replaces_the_old_one(run: Run) -> None:
    [old] = answer(run, "account", "show")["keys"]
    new = answer(run, "account", "rotate", "demo")
    assert list(new) == ["name", "secret_id", "secret_key", "enabled"]
    assert new["secret_id"] != old["secret_id"]
    shown = run("account", "show").out
    assert new["secret_id"] in shown
    assert old["secret_id"] not in shown
    assert new["secret_key"] not in shown


def test_account_is_disabled_and_enabled(run: Run) -> None:
    assert [key["enabled"] for key in answer(run, "account", "disable", "demo")["keys"]] == [False]
    assert "(disabled)" in run("account", "show").out
    assert "the account is disabled" in run("account", "rotate", "demo").out
    assert [key["enabled"] for key in answer(run, "account", "enable", "demo")["keys"]] == [True]


@pytest.mark.parametrize("service", ["live", "mdc", "trtc", "tiw", "preload"])
def test_every_service_may_be_in_every_state(run: Run, service: str) -> None:
    for state in ("inactive", "arrears", "frozen", "blocked", "disabled", "active"):
        shown = answer(run, "account", "service", "demo", service, state)
        assert list(shown["services"]) == ["live", "mdc", "trtc", "tiw", "preload"]
        assert shown["services"].pop(service) == state
        assert set(shown["services"].values()) == {"active"}


def test_limit_of_tasks_is_set(run: Run) -> None:
    assert answer(run, "account", "limit", "demo", "tasks", "500")["task_limit"] == 500


def test_callback_key_is_the_same_until_it_is_renewed(run: Run) -> None:
    first = answer(run, "account", "callback-key", "demo")
    assert list(first) == ["name", "callback_key"]
    assert answer(run, "account", "callback-key", "demo") == first
    renewed = run("account", "callback-key", "demo", "--renew").out.strip()
    assert renewed != first["callback_key"]
    assert answer(run, "account", "callback-key", "demo")["callback_key"] == renewed


def test_domain_is_added_to_an_account_and_listed(run: Run) -> None:
    run("account", "create", "other")
    play = {"domain": "play.example.com", "account": "demo", "area": "global"}
    east = {"domain": "east.example.com", "account": "other", "area": "overseas"}
    assert answer(run, "domain", "add", "Play.example.com", "--account", "demo") == play
    assert answer(run, "domain", "add", "east.example.com", "--account", "other", "--area", "overseas") == east
    assert answer(run, "domain", "list") == [east, play]
    assert answer(run, "domain", "list", "--account", "demo") == [play]
    assert "play.example.com" in run("domain", "list").out
    assert answer(run, "account", "show", "demo")["domains"] == ["play.example.com"]


def test_edge_is_added_listed_and_removed(run: Run) -> None:
    words = ["--area", "domestic", "--rtmp", "10.0.0.1:1935", "--query", "token=secret", "--label", "rack=7"]
    added = answer(run, "edge", "add", "e1", *words)
    assert (added["name"], added["rtmp"], added["query"], added["labels"]) == ("e1", "10.0.0.1:1935", "***", "rack=7")
    assert answer(run, "edge", "list") == [added]
    assert "secret" not in run("edge", "list").out
    assert run("edge", "add", "e1", *words).err == "penstock: There is an edge e1 already.\n"
    run("edge", "remove", "e1")
    assert answer(run, "edge", "list") == []
    assert run("edge", "remove", "e1").err == "penstock: There is no edge 'e1'.\n"


def test_edge_is_tested_as_its_viewers_find_it(run: Run) -> None:
    with PeerThread(lambda: Origin(Clip().messages())) as origin:
        run("edge", "add", "e1", "--area", "global", "--rtmp", f"127.0.0.1:{origin.peer.port}")
        assert answer(run, "edge", "test", "e1", "rtmp://play.example.com/live/x")["edge"] == "e1"
        assert origin.connections[0].tc_url == "rtmp://play.example.com/live"
        refused = run("edge", "test", "e1", "http://play.example.com/live/x.flv").err
        assert refused == "penstock: PlayUrl: the edge does not serve HTTP.\n"
    down = run("edge", "test", "e1", "rtmp://play.example.com/live/x").err
    assert down == f"penstock: e1 (127.0.0.1:{origin.peer.port}): connection refused\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["e 1", "--rtmp", "h:1"], "An edge's name is 1 to 64 letters, digits, dots, hyphens or underscores."),
        (["e"], "An edge serves RTMP (rtmp), HTTP (http), HTTPS (https), or several of them."),
        (["e", "--http", "h:x"], "http: 'h:x' cannot be used: its host or port cannot be understood."),
        (
            ["e", "--rtmp", "h:1", "--path", "/{name}"],
            "A path begins with / or {path}, and is made of {path}, {app}, {stream}.",
        ),
        (["e", "--rtmp", "h:1", "--query", "a b"], "query holds a character that must not stand in a URL."),
        (["e", "--rtmp", "h:1", "--label", "x"], "A label is KEY=VALUE."),
    ],
)
def test_edge_that_no_viewer_could_use_is_refused(run: Run, words: list[str], message: str) -> None:
    assert run("edge", "add", *words, "--area", "global").err == f"penstock: {message}\n"


def test_usersig_is_a_ticket_for_that_user(run: Run) -> None:
    made = answer(run, "usersig", str(APP), "ann", "--expire", "60")
    assert list(made) == ["sdk_app_id", "user_id", "user_sig", "expires_at"]
    packed = made["user_sig"].replace("*", "+").replace("-", "/").replace("_", "=")
    ticket = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert (ticket["TLS.identifier"], ticket["TLS.sdkappid"], ticket["TLS.expire"]) == ("ann", APP, 60)
    assert made["expires_at"] == ticket["TLS.time"] + 60
    assert run("usersig", str(APP), "ann").out.startswith("eJ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["account", "rotate", "nobody"], "There is no account 'nobody'."),
        (["account", "disable", "nobody"], "There is no account 'nobody'."),
        (["account", "service", "nobody", "live", "frozen"], "There is no account 'nobody'."),
        (["account", "limit", "nobody", "tasks", "1"], "There is no account 'nobody'."),
        (["account", "limit", "demo", "tasks", "10000001"], "a number from 0 to 10000000"),
        (["account", "callback-key", "nobody"], "There is no account 'nobody'."),
        (["domain", "add", "not a domain"], "'not a domain' is not a domain"),
        (["domain", "add", "x.example", "--account", "nobody"], "There is no account 'nobody'."),
        (["usersig", "7", "ann"], "No account has the SdkAppId 7."),
        (["usersig", str(APP), ""], "A UserId is 1 to 255 bytes"),
        (["usersig", str(APP), "ann", "--expire", "0"], "at least one second"),
    ],
)
def test_refusal_is_one_line_and_ends_with_1(run: Run, words: list[str], message: str) -> None:
    done = run(*words)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert message in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["account", "rotate"],
        ["account", "service", "demo", "live", "odd"],
        ["account", "service", "demo", "odd", "active"],
        ["account", "limit", "demo", "streams", "1"],
        ["account", "limit", "demo", "tasks", "many"],
        ["domain", "add", "x.example", "--area", "moon"],
        ["usersig", "ann", "7"],
    ],
)
def test_misuse_ends_with_2(run: Run, words: list[str]) -> None:
    done = run(*words)
    assert (done.code, done.out) == (2, "")
