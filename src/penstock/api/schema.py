"""An action's parameters and its answer, declared once as structs. Knows no vendor.

Fields are the vendor's names in snake case; types, ranges, lengths and sets stand in the annotations.
``UNSET`` means absent, which is not the same as empty; a null counts as absent.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import inspect

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


#: ``shape``: the parameters as a whole are no object.
Fault = Literal["missing", "unknown", "type", "value", "shape"]


class Misfit(Exception):
    """Parameters that do not fit an action's schema."""

    def __init__(self, fault: Fault, name: str, value: object) -> None:
        """`name`: the parameter, by the path of its steps; empty: all of them. `value`: what was given."""
        super().__init__(f"{name}: {fault}")
        self.fault = fault
        self.name = name
        self.value = value


def given(part: Part) -> dict[str, Any]:
    """What is there, by the names of the fields."""
    return {name: value for name, value in msgspec.structs.asdict(part).items() if value is not msgspec.UNSET}


def fields_of(kind: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    """All that was declared of a struct's fields."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return described.fields


def converted(given: Any, kind: type[R], *, strict: bool) -> R:
    """The parameters of an action. `strict`: no text for a number. Raise `Misfit`, or `RecursionError`."""
    given = without_nulls(given)
    try:
        return msgspec.convert(given, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise misfit(str(error), given) from None


def without_nulls(value: Any) -> Any:
    """The same without those members of objects that are null."""
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def shown(value: object) -> str:
    """A caller's value as it stands in a message: on one line, and short."""
    text = str(value)
    return text if len(text) <= 100 and text.isprintable() else ascii(text[:100])[1:-1] + "..."


#: "Expected `int` <= 20 - at `$.PageSize`": what is wrong, and where if not at the top.
_FOUND = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (?P<fault>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)


def misfit(text: str, given: Any) -> Misfit:
    """What msgspec's words mean; `given` is what was read, for the value at fault."""
    found = _FOUND.fullmatch(text)
    what, path = (found["what"], found["path"] or "") if found else (text, "")
    steps = list(steps_of(path))
    name = ".".join(map(str, steps))
    if field := _FIELD.fullmatch(what):
        name = ".".join(map(str, [*steps, field["name"]]))
        return Misfit("missing" if field["fault"] == "missing required" else "unknown", name, None)
    if not name:
        return Misfit("shape", "", None)
    for step in steps:
        given = given[step]
    return Misfit("type" if "got `" in what else "value", name, given)


def steps_of(path: str) -> Iterator[str | int]:
    """``.WatermarkList[0].PictureUrl`` as its steps."""
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        yield name or int(index)
