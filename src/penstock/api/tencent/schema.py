"""An action's parameters, read from JSON or from a flattened form.

Errors name the parameter as the vendor does: ``WatermarkList.0.PictureUrl``.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from penstock.api import schema
from penstock.api.schema import Misfit, Request
from penstock.api.tencent import codes
from penstock.api.tencent.codes import ApiError
from penstock.api.tencent.forms import unflattened

R = TypeVar("R", bound=Request)


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
        return schema.converted(given, kind, strict=strict)
    except RecursionError:
        raise codes.body_invalid("it is nested too deeply") from None
    except Misfit as error:
        raise refusal(error) from None


def refusal(error: Misfit) -> ApiError:
    """The same in the vendor's words."""
    match error.fault:
        case "missing":
            return codes.parameter_missing(error.name)
        case "unknown":
            return codes.parameter_unknown(error.name)
        case "type":
            return codes.parameter_type(error.name)
        case "value":
            return codes.parameter_value(error.name, error.value)
        case "shape":
            return codes.body_invalid("it is not an object")
