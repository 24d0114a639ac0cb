"""An action's parameters: declared once as a struct, read from JSON or from a flattened form.

Fields are the vendor's names in snake case; types, ranges, lengths and sets stand in the annotations.
``UNSET`` means absent, which is not the same as empty; a JSON null counts as absent. Errors name the
parameter as the vendor does: ``WatermarkList.0.PictureUrl``.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from penstock.api.tencent import codes
from penstock.api.tencent.codes import ApiError
from penstock.api.tencent.forms import unflattened

R = TypeVar("R", bound="Request")


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", forbid_unknown_fields=True):
    """An object inside the parameters."""


class Request(Part, frozen=True, kw_only=True):
    """An action's parameters."""


class AnswerPart(msgspec.Struct, kw_only=True, rename="pascal"):
    """An object inside an answer; a field that is UNSET is left out."""


class Answer(AnswerPart, kw_only=True):
    """What an action gives back."""

    #: Set where the answer is put into its envelope.
    request_id: str = ""


def given(part: Part) -> dict[str, Any]:
    """What is there, by the names of the fields."""
    return {name: value for name, value in msgspec.structs.asdict(part).items() if value is not msgspec.UNSET}


def fields_of(kind: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    """All that was declared of a struct's fields."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return described.fields


def from_json(body: bytes, kind: type[R]) -> R:
    """Read a JSON body strictly: no text for a number, no number for a text. Raise `ApiError`."""
    try:
        given = msgspec.json.decode(body)
    except RecursionError:
        raise codes.body_invalid("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise codes.body_invalid("it is not UTF-8") from None
    except msgspec.MsgspecError:
        raise codes.body_invalid("it is not JSON") from None
    return converted(given, kind, strict=True)


def from_pairs(pairs: Iterable[tuple[str, Any]], kind: type[R]) -> R:
    """Read flattened parameters, where numbers are texts: ``SourceUrls.0=...``. Raise `ApiError`."""
    return converted(unflattened(pairs), kind, strict=False)


def converted(given: Any, kind: type[R], *, strict: bool) -> R:
    try:
        given = without_nulls(given)
    except RecursionError:
        raise codes.body_invalid("it is nested too deeply") from None
    try:
        return msgspec.convert(given, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise refusal(str(error), given) from None


def without_nulls(value: Any) -> Any:
    """The same without those members of objects that are null."""
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


#: "Expected `int` <= 20 - at `$.PageSize`": what is wrong, and where if not at the top.
_FOUND = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (?P<fault>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)


def refusal(text: str, given: Any) -> ApiError:
    """msgspec's words as the vendor's; `given` is what was read, for the value at fault."""
    found = _FOUND.fullmatch(text)
    what, path = (found["what"], found["path"] or "") if found else (text, "")
    steps = list(steps_of(path))
    name = ".".join(map(str, steps))
    if field := _FIELD.fullmatch(what):
        name = ".".join(map(str, [*steps, field["name"]]))
        missing = field["fault"] == "missing required"
        return codes.parameter_missing(name) if missing else codes.parameter_unknown(name)
    if not name:
        return codes.body_invalid("it is not an object")
    if "got `" in what:
        return codes.parameter_type(name)
    for step in steps:
        given = given[step]
    return codes.parameter_value(name, given)


def steps_of(path: str) -> Iterator[str | int]:
    """``.WatermarkList[0].PictureUrl`` as its steps."""
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        yield name or int(index)
