"""An action's parameters: declared once as a struct, read from JSON or from a flattened form.

Fields are the vendor's names in snake case; types, ranges, lengths and sets stand in the annotations.
``UNSET`` means absent, which is not the same as empty; a JSON null counts as absent. Errors name the
parameter as the vendor does: ``WatermarkList.0.PictureUrl``.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from penstock.api.tencent import codes
from penstock.api.tencent.codes import ApiError

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


def from_json(body: bytes, kind: type[R]) -> R:
    """Read a JSON body strictly: no text for a number, no number for a text. Raise `ApiError`."""
    try:
        given = without_nulls(msgspec.json.decode(body))
    except RecursionError:
        raise codes.body_invalid("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise codes.body_invalid("it is not UTF-8") from None
    except msgspec.MsgspecError:
        raise codes.body_invalid("it is not JSON") from None
    return converted(given, kind, strict=True)


def from_pairs(pairs: Iterable[tuple[str, str]], kind: type[R]) -> R:
    """Read flattened parameters, all of them texts: ``SourceUrls.0=...``. Raise `ApiError`."""
    return converted(unflattened(pairs), kind, strict=False)


def pairs_of(text: str) -> list[tuple[str, str]]:
    """The parameters of a query or a form, decoded, in their order. Raise `ApiError`."""
    try:
        return parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=10_000)
    except ValueError:
        raise codes.query_invalid() from None


def without_nulls(value: Any) -> Any:
    """The same without those members of objects that are null."""
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def unflattened(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """``{"A.0.B": "x"}`` as ``{"A": [{"B": "x"}]}``. Raise `ApiError`."""
    tree: dict[str, Any] = {}
    for name, value in pairs:
        *path, last = name.split(".", maxsplit=10)
        node: Any = tree
        for step in path:
            node = node.setdefault(step, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last in node:
            raise codes.parameter_type(name)
        node[last] = value
    return {name: with_lists(value) for name, value in tree.items()}


def with_lists(node: Any) -> Any:
    """The same with a list for every object whose names are all numbers."""
    if not isinstance(node, dict):
        return node
    if all(re.fullmatch("[0-9]{1,9}", name) for name in node):
        return [with_lists(node[name]) for name in sorted(node, key=int)]
    return {name: with_lists(value) for name, value in node.items()}


def converted(given: Any, kind: type[R], *, strict: bool) -> R:
    try:
        return msgspec.convert(given, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise refusal(str(error), given) from None


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
