"""Parameters: what is read, and how each fault is named."""

import json
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType

from penstock.api.schema import Part, Request
from penstock.api.schema import given as given_fields
from penstock.api.tencent import forms, schema
from penstock.api.tencent.codes import ApiError
from tests.tencent import signing


class Mark(Part, frozen=True, kw_only=True):
    picture_url: str
    x_position: Annotated[int, Meta(ge=0, le=100)] = 0


class Sample(Request, frozen=True, kw_only=True):
    task_id: str
    page_size: Annotated[int, Meta(ge=1, le=20)] = 10
    source_urls: Annotated[tuple[str, ...], Meta(max_length=3)] | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    mark_list: tuple[Mark, ...] | UnsetType = UNSET


SAMPLES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"TaskId": st.text(max_size=10)},
    optional={
        "PageSize": st.integers(1, 20),
        "SourceUrls": st.lists(st.text(max_size=10), min_size=1, max_size=3),
        "MarkList": st.lists(
            st.fixed_dictionaries({"PictureUrl": st.text(max_size=10)}, optional={"XPosition": st.integers(0, 100)}),
            min_size=1,
            max_size=12,
        ),
    },
)


def refused(body: bytes) -> tuple[str, str]:
    with pytest.raises(ApiError) as error:
        schema.from_json(body, Sample)
    return error.value.code, error.value.english


@given(SAMPLES)
def test_the_flattened_form_carries_what_json_carries(sample: dict[str, Any]) -> None:
    from_json = schema.from_json(json.dumps(sample).encode(), Sample)
    text = signing.encoded(signing.flattened(sample))

    assert schema.from_pairs(forms.pairs_of(text), Sample) == from_json


@pytest.mark.parametrize(
    ("parameters", "code", "message"),
    [
        ({}, "MissingParameter", "The request is missing a required parameter `TaskId`."),
        ({"TaskId": None}, "MissingParameter", "The request is missing a required parameter `TaskId`."),
        ({"TaskId": "1", "Foo": 1}, "UnknownParameter", "The parameter `Foo` is not recognized."),
        ({"TaskId": 1}, "InvalidParameter", "The value type of parameter `TaskId` is not valid."),
        (
            {"TaskId": "1", "PageSize": "5"},
            "InvalidParameter",
            "The value type of parameter `PageSize` is not valid.",
        ),
        (
            {"TaskId": "1", "PageSize": 5.0},
            "InvalidParameter",
            "The value type of parameter `PageSize` is not valid.",
        ),
        (
            {"TaskId": "1", "PageSize": True},
            "InvalidParameter",
            "The value type of parameter `PageSize` is not valid.",
        ),
        (
            {"TaskId": "1", "PageSize": 50},
            "InvalidParameterValue",
            "The value `50` specified in the parameter `PageSize` is not valid.",
        ),
        (
            {"TaskId": "1", "SourceUrls": ["a", 1]},
            "InvalidParameter",
            "The value type of parameter `SourceUrls.1` is not valid.",
        ),
        (
            {"TaskId": "1", "SourceUrls": ["a", None]},
            "InvalidParameter",
            "The value type of parameter `SourceUrls.1` is not valid.",
        ),
        (
            {"TaskId": "1", "SourceUrls": list("abcd")},
            "InvalidParameterValue",
            "The value `['a', 'b', 'c', 'd']` specified in the parameter `SourceUrls` is not valid.",
        ),
        (
            {"TaskId": "1", "MarkList": [{"PictureUrl": "a"}, {}]},
            "MissingParameter",
            "The request is missing a required parameter `MarkList.1.PictureUrl`.",
        ),
        (
            {"TaskId": "1", "MarkList": [{"PictureUrl": "a", "Size": 1}]},
            "UnknownParameter",
            "The parameter `MarkList.0.Size` is not recognized.",
        ),
        (
            {"TaskId": "1", "MarkList": [{"PictureUrl": "a", "XPosition": 101}]},
            "InvalidParameterValue",
            "The value `101` specified in the parameter `MarkList.0.XPosition` is not valid.",
        ),
        ([], "InvalidParameter", "The request body is not valid: it is not an object."),
    ],
    ids=str,
)
def test_each_fault_is_named_as_the_vendor_names_it(parameters: Any, code: str, message: str) -> None:
    assert refused(json.dumps(parameters).encode()) == (code, message)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "it is not JSON"),
        (b'{"TaskId": "1"', "it is not JSON"),
        (b'{"TaskId": NaN}', "it is not JSON"),
        (b'{"TaskId": 1e999}', "it is not JSON"),
        (b'\xef\xbb\xbf{"TaskId": "1"}', "it is not JSON"),
        (b'{"TaskId": "\xff"}', "it is not UTF-8"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"TaskId":' * 10_000 + b"1" + b"}" * 10_000, "it is nested too deeply"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_a_body_that_is_not_json_is_refused_cleanly(body: bytes, why: str) -> None:
    assert refused(body) == ("InvalidParameter", f"The request body is not valid: {why}.")


def test_an_integer_of_400_digits_is_refused_in_a_short_message() -> None:
    code, message = refused(b'{"TaskId": "1", "PageSize": ' + b"7" * 400 + b"}")

    assert code == "InvalidParameterValue"
    assert len(message) < 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["TaskId", "MarkList"]), inner),
)
QUERIES = st.text() | st.from_regex(r"([A-Z]?(\.[0-9A])*=[0-9%&]*){0,5}", fullmatch=True)
READ = {"", "MissingParameter", "UnknownParameter", "InvalidParameter", "InvalidParameterValue"}


def code_of(read: Callable[[], object]) -> str:
    """The code of the refusal; empty: it was read."""
    try:
        read()
    except ApiError as error:
        return error.code
    return ""


@given(JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    body = json.dumps(value).encode()

    assert code_of(lambda: schema.from_json(body, Sample)) in READ


@given(QUERIES)
def test_any_query_is_read_or_refused(query: str) -> None:
    assert code_of(lambda: schema.from_pairs(forms.pairs_of(query), Sample)) in READ


@pytest.mark.parametrize("text", ["TaskId", "TaskId=1&&", "TaskId=%ff"])
def test_a_query_that_is_not_pairs_of_utf8_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="should be splited by `=`"):
        forms.pairs_of(text)


@pytest.mark.parametrize("text", ["A=1&A=2", "A=1&A.0=2", "A.0=2&A=1"])
def test_a_parameter_cannot_be_given_twice(text: str) -> None:
    with pytest.raises(ApiError, match="The value type of parameter"):
        forms.unflattened(forms.pairs_of(text))


def test_absent_is_not_empty() -> None:
    absent = schema.from_json(b'{"TaskId": "1"}', Sample)
    empty = schema.from_json(b'{"TaskId": "1", "SourceUrls": []}', Sample)

    assert (absent.source_urls, empty.source_urls) == (UNSET, ())
    assert given_fields(absent) == {"task_id": "1", "page_size": 10}
