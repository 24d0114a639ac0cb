"""Writes ``docs/coverage.md``: each action's fields and codes, and the test that proves each; ``make coverage``.

Fields and what they may hold come from the schemas, proofs from ``proofs.json``, words from ``docs/coverage/*.md``.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import inspect

from penstock.api import schema
from penstock.api.aliyun import codes as aliyun_codes
from penstock.api.aliyun import live as aliyun_live
from penstock.api.aliyun.wire import Service as AliyunService
from penstock.api.tencent import codes as tencent_codes
from penstock.api.tencent import live as tencent_live
from penstock.api.tencent.wire import Service as TencentService
from penstock.tasks.preloads import PreloadTasks
from penstock.tasks.service import PullTasks
from tests import proofs
from tests.proofs import Proof
from tests.tencent.vendor import MAY_BE_ABSENT, NOT_ANSWERED, NOT_SERVED, OURS, type_name

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coverage.md"
NOTES = ROOT / "docs" / "coverage"

#: All that is served; the functions behind the actions are not called here.
TENCENT = [tencent_live.live(PullTasks.__new__(PullTasks))]
ALIYUN = [aliyun_live.live(PreloadTasks.__new__(PreloadTasks))]
Service = TencentService | AliyunService
SERVICES: list[tuple[str, Service]] = [
    *(("tencent", service) for service in TENCENT),
    *(("aliyun", service) for service in ALIYUN),
]
#: Where each API's common codes stand.
CODES = {"tencent": Path(tencent_codes.__file__), "aliyun": Path(aliyun_codes.__file__)}

HEAD = """\
# Coverage of the vendors' APIs

What is served, how, and the test that proves it. This page is made by `make coverage`: from the schemas, from what the
tests in `tests/tencent` and `tests/aliyun` were seen to prove, and from the words in `docs/coverage/`, which are
written by hand. A test that is named here fails when it no longer shows what it is named for; Tencent's schemas are
compared with the vendor's own `api.json` of both sites by `tests/tencent/test_live_schema.py`.
"""


def main() -> None:
    PAGE.write_text(render())


def render() -> str:
    """The page."""
    proved = {proof: test for test, shown in proofs.kept().items() for proof in shown}
    parts = [HEAD, "## Tencent Cloud API 3.0\n", (NOTES / "tencent.md").read_text(), *common("tencent", proved)]
    for one in TENCENT:
        parts += [f"## {one.name} {one.version}\n", *not_served(one), *actions_of("tencent", one, proved)]
    parts += ["## Alibaba Cloud RPC\n", (NOTES / "aliyun.md").read_text(), *common("aliyun", proved)]
    for other in ALIYUN:
        parts += [f"## {other.product} {other.version}\n", ours_of(other), *actions_of("aliyun", other, proved)]
    return "\n".join(parts)


def common(api: str, proved: Mapping[Proof, str]) -> Iterator[str]:
    """The codes that belong to no action."""
    yield "| code of any action | proved by |\n|---|---|\n" + "\n".join(
        f"| `{code}` | {proof_of(proved, api, code=code)} |" for code in common_codes(api)
    )
    yield ""


def notes_of(service: Service) -> str:
    """What is written by hand about a service."""
    return (NOTES / f"{service.belongs_to}.md").read_text()


def ours_of(service: Service) -> str:
    notes = notes_of(service)
    return notes[notes.index("**Ours**") :]


def not_served(service: TencentService) -> Iterator[str]:
    """What Tencent's api.json has besides, and what differs."""
    yield "Any other action is `InvalidAction`. Of those about pull tasks that the vendor has, these are not served:\n"
    yield "\n".join(f"- `{name}`: {why}." for name, why in NOT_SERVED.items()) + "\n"
    yield ours_of(service)
    yield "Differences from the vendor's `api.json`:\n"
    for name, why in {**MAY_BE_ABSENT, **OURS, **NOT_ANSWERED}.items():
        how = "may be absent" if name in MAY_BE_ABSENT else "is taken" if name in OURS else "is not answered"
        yield f"- `{name}` {how}: {why}."
    yield ""


def actions_of(api: str, service: Service, proved: Mapping[Proof, str]) -> Iterator[str]:
    """Each action's fields and codes."""
    states = states_of(notes_of(service))
    for name, action in service.actions.items():
        yield f"### {name}\n\nAt most {action.per_second} calls a second.\n"
        yield "| field | type | values | how it is served | proved by |\n|---|---|---|---|---|"
        for field in schema.fields_of(action.request):
            required = "" if not field.required else ", required"
            kind = f"{kind_of(field.type)}{required}"
            state = states.get(field.encode_name, "served")
            test = proof_of(proved, api, name, field.encode_name)
            yield f"| {field.encode_name} | {kind} | {values_of(field.type)} | {state} | {test} |"
        yield "\n| code | proved by |\n|---|---|"
        for code in codes_of(api, service, name, proved):
            yield f"| `{code}` | {proof_of(proved, api, name, code=code)} |"
        yield ""


def common_codes(api: str) -> list[str]:
    """Those of `codes`, in their order there."""
    found = re.findall(r'ApiError\(\s*(?:\d+,\s*)?"([A-Za-z.]+)"', CODES[api].read_text())
    return list(dict.fromkeys(found))


def own_codes(service: Service) -> list[str]:
    """Those of the service's refusals and states."""
    if isinstance(service, TencentService):
        return [code for code, _ in service.refusals.values()] + [code for code, _, _ in service.states.values()]
    return [code for _, code in service.refusals.values()] + [code for _, code, _ in service.states.values()]


def codes_of(api: str, service: Service, action: str, proved: Mapping[Proof, str]) -> list[str]:
    """The service's own codes that a test has seen of this action, and those about its parameters."""
    seen = [proof.code for proof in sorted(proved) if (proof.api, proof.action, proof.field) == (api, action, "")]
    about_parameters = [code for code in seen if re.match("Missing|UnknownParameter|InvalidParameter(Value)?$", code)]
    own = [code for code in own_codes(service) if code in seen]
    return list(dict.fromkeys([*about_parameters, *own]))


def states_of(notes: str) -> dict[str, str]:
    """How a field is served, if there is more to say than that it is."""
    return dict(re.findall(r"^\| ([A-Z]\w+) \| (.*) \|$", notes, flags=re.MULTILINE))


def proof_of(
    proved: Mapping[Proof, str], api: str, action: str | None = None, field: str = "", code: str | None = None
) -> str:
    """Who proves that a field is taken, or that a call is answered a code: file and function."""
    tests = [
        test
        for proof, test in sorted(proved.items())
        if proof.api == api
        and (action is None or proof.action == action)
        and proof.field == field
        and code in (None, proof.code)
    ]
    if not tests:
        return ""
    file, _, name = re.sub(r"\[.*", "", tests[0]).partition("::")
    return f"[{name.rpartition('::')[2]}](../tests/{file})"


def kind_of(kind: inspect.Type) -> str:
    """A field's type by the vendor's names."""
    kind = plain(kind)
    if isinstance(kind, inspect.VarTupleType):
        return f"list of {kind_of(kind.item_type)}"
    return kind.cls.__name__ if isinstance(kind, inspect.StructType) else type_name(kind)


def plain(kind: inspect.Type) -> inspect.Type:
    """The type itself of one that has bounds or may be absent."""
    if isinstance(kind, inspect.Metadata):
        return plain(kind.type)
    if isinstance(kind, inspect.UnionType):
        return plain(kind.types[0])  # the other one says that it may be absent
    return kind


def values_of(kind: inspect.Type) -> str:
    """What a field may hold, as its schema says."""
    kind = plain(kind)
    match kind:
        case inspect.LiteralType():
            return ", ".join("empty" if value == "" else f"`{value}`" for value in kind.values)
        case inspect.IntType() if kind.ge is not None and kind.le is not None:
            return f"{kind.ge} to {kind.le}"
        case inspect.StrType() if kind.pattern:
            return f"`{kind.pattern}`".replace("|", "\\|")
        case inspect.VarTupleType():
            items = values_of(kind.item_type)
            least, most = kind.min_length or 0, kind.max_length
            number = f"{least} to {most} items" if most else ""
            return "; ".join(part for part in (number, items) if part)
        case inspect.StructType():
            return "; ".join(
                f"{field.encode_name} {values}"
                for field in schema.fields_of(kind.cls)
                if (values := values_of(field.type))
            )
    return ""


if __name__ == "__main__":
    main()
