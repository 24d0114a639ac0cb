"""The schemas of `live` against the vendor's own description of it: every difference has its reason here."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from penstock import errors
from penstock.api.schema import Answer, AnswerPart, Request
from penstock.api.tencent import forms, schema
from penstock.api.tencent.live import REFUSALS
from penstock.api.tencent.live import schema as live
from penstock.api.tencent.live.schema import (
    CreateLivePullStreamTask,
    DeleteLivePullStreamTask,
    DescribeLivePullStreamTasks,
    DescribeLivePullStreamTaskStatus,
    ModifyLivePullStreamTask,
    RestartLivePullStreamTask,
)
from tests.tencent.vendor import MAY_BE_ABSENT, NOT_ANSWERED, NOT_SERVED, OURS, SITES, VENDOR, fields

REQUESTS: list[type[Request]] = [
    CreateLivePullStreamTask,
    DeleteLivePullStreamTask,
    DescribeLivePullStreamTasks,
    DescribeLivePullStreamTaskStatus,
    ModifyLivePullStreamTask,
    RestartLivePullStreamTask,
]
ANSWERS: dict[str, type[AnswerPart]] = {
    "CreateLivePullStreamTask": live.TaskCreated,
    "DeleteLivePullStreamTask": Answer,
    "DescribeLivePullStreamTasks": live.TasksDescribed,
    "DescribeLivePullStreamTaskStatus": live.StatusDescribed,
    "ModifyLivePullStreamTask": Answer,
    "RestartLivePullStreamTask": Answer,
}
PARTS: dict[str, type[AnswerPart]] = {
    "PullStreamTaskInfo": live.PullStreamTaskInfo,
    "RecentPullInfo": live.RecentPullInfo,
    "TaskStatusInfo": live.TaskStatusInfo,
    "PullPushWatermarkInfo": live.WatermarkInfo,
}


def vendors_input(action: str) -> dict[str, tuple[str, bool]]:
    """The union of both sites."""
    return {
        field["name"]: (field["type"], field["required"])
        for site in SITES
        for field in VENDOR[site]["actions"].get(action, {}).get("input", [])
    }


def examples() -> Iterator[Any]:
    for site in SITES:
        for action, described in VENDOR[site]["actions"].items():
            for example in described["examples"]:
                yield pytest.param(action, example["input"], id=f"{site}-{action}")


def test_every_action_on_pull_tasks_is_served_or_has_its_reason() -> None:
    theirs = {action for site in SITES for action in VENDOR[site]["of_pull_tasks"]}

    assert theirs == {kind.__name__ for kind in REQUESTS} | NOT_SERVED.keys()


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.__name__)
def test_requests_take_the_union_of_both_sites(kind: type[Request]) -> None:
    theirs = vendors_input(kind.__name__)
    ours = {name: field for name, field in fields(kind).items() if f"{kind.__name__}.{name}" not in OURS}

    assert ours == {
        name: (type_name, required and f"{kind.__name__}.{name}" not in MAY_BE_ABSENT)
        for name, (type_name, required) in theirs.items()
    }


def test_watermarks_take_the_vendors_fields() -> None:
    theirs = {field["name"]: field for field in VENDOR["mainland"]["objects"]["PullPushWatermarkInfo"]}

    assert fields(live.Watermark) == {
        name: (field["type"], f"PullPushWatermarkInfo.{name}" not in MAY_BE_ABSENT) for name, field in theirs.items()
    }


@pytest.mark.parametrize("action", ANSWERS)
def test_answers_hold_what_both_sites_declare(action: str) -> None:
    """A field that one SDK does not know would make it warn."""
    for site in SITES:
        if described := VENDOR[site]["actions"].get(action):
            theirs = {field["name"]: field["type"] for field in described["output"]}
            assert {name: kind for name, (kind, _) in fields(ANSWERS[action]).items()} == theirs


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_answers_hold_what_both_sites_declare(part: str) -> None:
    for site in SITES:
        if described := VENDOR[site]["objects"].get(part):
            theirs = {
                field["name"]: field["type"] for field in described if f"{part}.{field['name']}" not in NOT_ANSWERED
            }
            assert {name: kind for name, (kind, _) in fields(PARTS[part]).items()} == theirs


@pytest.mark.parametrize(("action", "sample"), list(examples()))
def test_the_vendors_samples_are_read(action: str, sample: str) -> None:
    kind = next(kind for kind in REQUESTS if kind.__name__ == action)
    if sample.startswith("POST"):
        schema.from_json(sample.partition("\n\n")[2].encode(), kind)
        return
    query = re.sub(r"\n|&<.*>", "", sample.partition("?")[2])
    pairs = [pair for pair in forms.pairs_of(query) if pair != ("Action", action)]
    schema.from_pairs(pairs, kind)


def test_every_refusal_of_the_core_has_a_code() -> None:
    def below(kind: type[errors.Refused]) -> set[type[errors.Refused]]:
        return {kind, *(deeper for child in kind.__subclasses__() for deeper in below(child))}

    only_at_the_command_line = {errors.AccountNotFound, errors.StreamNotFound}
    by_its_state = {errors.ServiceNotActive}
    of_other_apis = {errors.DomainNotFound}
    elsewhere = {errors.Refused} | only_at_the_command_line | by_its_state | of_other_apis
    assert set(REFUSALS) == below(errors.Refused) - elsewhere


def test_an_idle_status_is_the_vendors_sample() -> None:
    sample = VENDOR["mainland"]["actions"]["DescribeLivePullStreamTaskStatus"]["examples"][0]["output"]

    assert msgspec.to_builtins(live.TaskStatusInfo()) == json.loads(sample)["Response"]["TaskStatusInfo"]
