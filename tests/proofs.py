"""Which test proves what: seen from the calls that each test makes, kept in ``proofs.json``, and checked in every run.

A proof is an API, an action (empty: none that exists), a field of its request (empty: the call as a whole) and the code
that it was answered (empty: none). ``make coverage`` records them anew.
"""

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from penstock.api import schema
from penstock.api.aliyun import calls as aliyun_calls
from penstock.api.aliyun import codes as aliyun_codes
from penstock.api.aliyun.wire import Aliyun
from penstock.api.http import Head, ReadBody, Reply
from penstock.api.tencent import calls as tencent_calls
from penstock.api.tencent import codes as tencent_codes
from penstock.api.tencent.wire import Tencent

W = TypeVar("W", Tencent, Aliyun)
RequestOf = Callable[[W, Head, ReadBody], Awaitable[schema.Request]]

FILE = Path(__file__).with_name("proofs.json")


class Proof(NamedTuple):
    """What one call has shown."""

    #: ``tencent`` or ``aliyun``.
    api: str
    action: str
    field: str
    code: str


class Recorder:
    """Looks at every call that an endpoint of this process answers."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.by_test: dict[str, set[Proof]] = {}
        self._seen: set[Proof] = set()
        self._watch(patch, "tencent", Tencent, of_tencent)
        self._watch(patch, "aliyun", Aliyun, of_aliyun)

    def _watch(self, patch: pytest.MonkeyPatch, api: str, kind: type[W], request_of: RequestOf[W]) -> None:
        answer = kind.answer

        async def watched(wire: W, head: Head, read: ReadBody) -> Reply:
            reply = await answer(wire, head, read)
            action = reply.action if reply.service else ""
            self._seen.add(Proof(api, action, "", reply.code))
            if reply.account_id is not None:  # so its body is here
                for field in await fields_of(wire, head, read, request_of):
                    self._seen.add(Proof(api, action, field, reply.code))
            return reply

        patch.setattr(kind, "answer", watched)

    def watch(self, test: str) -> Iterator[None]:
        """What is seen from now on is this test's."""
        self.by_test[test] = self._seen = set()
        yield


async def fields_of(wire: W, head: Head, read: ReadBody, request_of: RequestOf[W]) -> list[str]:
    """The fields that a call's parameters hold, by the vendor's names, as far as they can be read."""
    try:
        request = await request_of(wire, head, read)
    except (tencent_codes.ApiError, aliyun_codes.ApiError):
        return []
    given = schema.given(request)
    return [field.encode_name for field in schema.fields_of(type(request)) if field.name in given]


async def of_tencent(wire: Tencent, head: Head, read: ReadBody) -> schema.Request:
    """The parameters of a call. Raise `ApiError`."""
    call = await tencent_calls.call_of(head, read)
    _, action = wire._action(call.common)
    await call.arrive()
    request: schema.Request = call.parameters(action.request)
    return request


async def of_aliyun(wire: Aliyun, head: Head, read: ReadBody) -> schema.Request:
    """The parameters of a call. Raise `ApiError`."""
    call = await aliyun_calls.call_of(head, read)
    _, action = wire._action(call.action, call.version)
    request: schema.Request = call.parameters(action.request)
    return request


def kept() -> Mapping[str, set[Proof]]:
    """The proofs that each test must show, by its name."""
    found = json.loads(FILE.read_text()) if FILE.exists() else {}
    return {test: {Proof(*proof) for proof in proofs} for test, proofs in found.items()}


def keep(by_test: Mapping[str, Iterable[Proof]]) -> None:
    """For each proof keep the test that is about the fewest things; of several the one with the shortest name.

    For a field rather one that also looks what has become of it.
    """
    tests: dict[Proof, list[str]] = defaultdict(list)
    for test, proofs in by_test.items():
        for proof in proofs:
            tests[proof].append(test)
    about = {test: len(set(proofs)) for test, proofs in by_test.items()}
    looks = {test for test, proofs in by_test.items() if any(proof.action.startswith("Describe") for proof in proofs)}
    chosen: dict[str, list[Proof]] = defaultdict(list)
    for proof in sorted(tests):
        if proof.field and proof.code not in best_codes(proof, tests):
            continue

        def worse(test: str, proof: Proof = proof) -> tuple[bool, int, int, str]:
            return bool(proof.field) and test not in looks, about[test], len(test), test

        chosen[min(tests[proof], key=worse)].append(proof)
    lines = [f" {json.dumps(test)}: {json.dumps(proofs)}" for test, proofs in sorted(chosen.items())]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def best_codes(proof: Proof, proofs: Iterable[Proof]) -> list[str]:
    """Of a field the best that was seen: that it was taken, or that it is not served, or whatever there is."""
    codes = {other.code for other in proofs if other[:3] == proof[:3]}
    return sorted(codes, key=lambda code: (code != "", code != "UnsupportedOperation", code))[:1]
