"""What was found, and what to do about it."""

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    #: Something optional is missing, or will be missed.
    WARN = "warn"
    #: A server could not serve, or would lose something.
    FAIL = "fail"


class Finding(NamedTuple):
    """One line of the doctor's report."""

    level: Level
    #: What was looked at.
    name: str
    text: str
    #: What to do; empty where all is well.
    advice: str = ""

    @classmethod
    def ok(cls, name: str, text: str) -> "Finding":
        return cls(Level.OK, name, text)

    @classmethod
    def warn(cls, name: str, text: str, advice: str) -> "Finding":
        return cls(Level.WARN, name, text, advice)

    @classmethod
    def fail(cls, name: str, text: str, advice: str) -> "Finding":
        return cls(Level.FAIL, name, text, advice)
