"""Who may publish to the hub: encoders by the vendors' txSecret and txTime, our own workers by tickets.

Pure: what the hub knows of accounts (`Directory`) and what an answer follows from.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import msgspec

from penstock.media.plan import Plan, Sink
from penstock.tasks.accounts import clean_host
from penstock.tasks.model import Struct, Task
from penstock.tasks.ports import Tx

#: The argument of a publishing URL that holds a worker's ticket.
TICKET = "penstockTicket"


class Directory(Struct):
    """Whose streams the hub carries, and the keys that sign publishing from elsewhere."""

    #: The account that hosts belong to unless `domains` says otherwise; 0: there is no account yet.
    first: int = 0
    #: Accounts by domain, in lower case.
    domains: Mapping[str, int] = msgspec.field(default_factory=dict)
    #: By account.
    push_keys: Mapping[int, str] = msgspec.field(default_factory=dict)

    def owner(self, host: str) -> int:
        """The account that a client means by the host that it asked for (with or without a port)."""
        return self.domains.get(clean_host(host), self.first)


def directory(tx: Tx) -> Directory:
    """What the store says now."""
    first = tx.first_account()
    return Directory(
        first=first.id if first else 0,
        domains={domain.name: domain.account_id for domain in tx.domains()},
        push_keys=tx.push_keys(),
    )


def tx_secret(key: str, stream: str, tx_time: str) -> str:
    """Tencent's signature of a push URL (CSS, "Splicing push URLs"): txTime is Unix seconds in hex."""
    return hashlib.md5(f"{key}{stream}{tx_time}".encode(), usedforsecurity=False).hexdigest()


def objection(key: str | None, stream: str, arguments: Mapping[str, str], *, at: int) -> str:
    """Why a URL with these arguments does not allow to publish at Unix second `at`; empty: it does."""
    secret, tx_time = arguments.get("txSecret", ""), arguments.get("txTime", "")
    if key is None:
        return "this account has no push key: publishing is free on loopback only"
    if not (secret and tx_time):
        return "txSecret and txTime are needed"
    if not hmac.compare_digest(tx_secret(key, stream, tx_time).encode(), secret.lower().encode()):
        return "txSecret is wrong"
    try:
        expired = int(tx_time, 16) < at
    except ValueError:
        return "txTime is no hexadecimal number"
    return "txTime has passed" if expired else ""


class Ticket(Struct):
    """What a worker shows to publish a task's stream: nobody else can make one."""

    account_id: int
    task_key: int
    #: That of the worker's claim. Of two runs of a task the later one is right.
    epoch: int

    def write(self, secret: bytes, app: str, stream: str) -> str:
        """Sign it for one stream."""
        numbers = f"{self.account_id}.{self.task_key}.{self.epoch}"
        return f"{numbers}.{_mac(secret, numbers, app, stream)}"

    @classmethod
    def read(cls, secret: bytes, text: str, app: str, stream: str) -> "Ticket | None":
        """The ticket, if it was signed with `secret` for this stream."""
        numbers, _, mac = text.rpartition(".")
        if not hmac.compare_digest(_mac(secret, numbers, app, stream).encode(), mac.encode()):
            return None
        account_id, task_key, epoch = map(int, numbers.split("."))
        return cls(account_id=account_id, task_key=task_key, epoch=epoch)


def _mac(secret: bytes, numbers: str, app: str, stream: str) -> str:
    return hmac.new(secret, f"{numbers}/{app}/{stream}".encode(), hashlib.sha256).hexdigest()


def with_tickets(plan: Plan, task: Task, secret: bytes, is_hub: Callable[[str, int | None], bool]) -> Plan:
    """The plan with a ticket for each destination that is our own hub."""
    return msgspec.structs.replace(plan, sinks=tuple(_with_ticket(sink, task, secret, is_hub) for sink in plan.sinks))


def _with_ticket(sink: Sink, task: Task, secret: bytes, is_hub: Callable[[str, int | None], bool]) -> Sink:
    parts = urlsplit(sink.url)
    if parts.scheme != "rtmp" or not is_hub(parts.hostname or "", parts.port):
        return sink
    app, _, stream = parts.path.strip("/").rpartition("/")
    ticket = Ticket(account_id=task.account_id, task_key=task.key, epoch=task.epoch).write(secret, app, stream)
    return msgspec.structs.replace(sink, ticket=f"{TICKET}={ticket}")
