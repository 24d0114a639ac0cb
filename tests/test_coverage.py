"""The page docs/coverage.md is fresh, whole, and about what there is."""

import re
from pathlib import Path

import pytest

from penstock.api import schema
from tests import coverage, proofs
from tests.coverage import Service
from tests.proofs import Proof

HERE = Path(__file__).parent


def proved() -> set[Proof]:
    return {proof for shown in proofs.kept().values() for proof in shown}


def test_the_page_is_fresh() -> None:
    assert coverage.PAGE.read_text() == coverage.render(), "type make coverage"


@pytest.mark.parametrize("test", sorted({re.sub(r"\[.*", "", test) for test in proofs.kept()}))
def test_every_test_that_is_named_exists(test: str) -> None:
    file, _, name = test.partition("::")
    *classes, function = name.split("::")

    source = (HERE / file).read_text()
    assert re.search(rf"\bdef {function}\(", source)
    assert [one for one in classes if f"class {one}" not in source] == []


@pytest.mark.parametrize("api", coverage.CODES)
def test_every_common_code_is_proved(api: str) -> None:
    assert set(coverage.common_codes(api)) - {proof.code for proof in proved() if proof.api == api} == set()


@pytest.mark.parametrize(("api", "service"), coverage.SERVICES, ids=lambda one: getattr(one, "version", None))
def test_every_code_of_a_service_is_proved(api: str, service: Service) -> None:
    assert set(coverage.own_codes(service)) - {proof.code for proof in proved() if proof.api == api} == set()


ACTIONS = {(api, name): action for api, service in coverage.SERVICES for name, action in service.actions.items()}


@pytest.mark.parametrize(("api", "name"), ACTIONS)
def test_every_field_of_an_action_is_sent_by_a_test(api: str, name: str) -> None:
    fields = {field.encode_name for field in schema.fields_of(ACTIONS[api, name].request)}

    assert fields - {proof.field for proof in proved() if (proof.api, proof.action) == (api, name)} == set()


def test_every_note_is_about_a_field_that_there_is() -> None:
    for _, service in coverage.SERVICES:
        noted = coverage.states_of(coverage.notes_of(service))
        fields = {
            field.encode_name for action in service.actions.values() for field in schema.fields_of(action.request)
        }
        assert noted.keys() - fields == set()
