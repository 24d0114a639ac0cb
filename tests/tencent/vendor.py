"""What the vendor says of ``live``, from its own files, and why we differ."""

import json
from pathlib import Path

from msgspec import inspect

from penstock.api import schema

VENDOR = json.loads((Path(__file__).parent / "vendor_live.json").read_text())
SITES = ("mainland", "international")

#: Action on pull tasks -> why there is none here.
NOT_SERVED = {
    "DescribePullTransformPushInfo": "no history of what was delivered is kept yet",
    "DescribePullTransformPushInfoList": "no history of what was delivered is kept yet",
}
#: Field of a request -> why it is required there and not here.
MAY_BE_ABSENT = {
    "DeleteLivePullStreamTask.TaskId": "SpecifyTaskId names the task as well",
    "ModifyLivePullStreamTask.TaskId": "SpecifyTaskId names the task as well",
    "DescribeLivePullStreamTaskStatus.TaskId": "SpecifyTaskId names the task as well",
    "RestartLivePullStreamTask.TaskId": "SpecifyTaskId names the task as well",
    **dict.fromkeys(
        [f"PullPushWatermarkInfo.{name}" for name in ("XPosition", "YPosition", "Width", "Height", "Location")],
        "the vendor's pages give defaults",
    ),
}
#: Field of a request -> why it is here and not there.
OURS = {
    "DescribeLivePullStreamTaskStatus.SpecifyTaskId": "whoever chose the id may use it everywhere",
    "RestartLivePullStreamTask.SpecifyTaskId": "whoever chose the id may use it everywhere",
}
#: Field of an answer -> why it is there and not here.
NOT_ANSWERED = {
    "PullStreamTaskInfo.CallbackInfo": "no callback is sent yet, so there is nothing true to say",
    "PullStreamTaskInfo.TranscodeTemplateName": "nothing is transcoded, and the international SDK lacks it",
}

KINDS: dict[type, str] = {
    inspect.StrType: "string",
    inspect.IntType: "int",
    inspect.VarTupleType: "list",
    inspect.StructType: "object",
}


def fields(kind: type[schema.Part] | type[schema.AnswerPart]) -> dict[str, tuple[str, bool]]:
    """Name -> the vendor's name of the type, and whether it is required."""
    return {field.encode_name: (type_name(field.type), field.required) for field in schema.fields_of(kind)}


def type_name(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata):
        return type_name(kind.type)
    if isinstance(kind, inspect.LiteralType):
        return "int" if isinstance(kind.values[0], int) else "string"
    return KINDS[type(kind)]
