"""Tasks as they are read: the rows, their last status, and the pages that the API shows."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Select, bindparam, func, select

from penstock.store import schema
from penstock.store.accounts import SqlAccounts
from penstock.store.prepared import Prepared
from penstock.store.schema import checkpoint, task
from penstock.tasks.model import Desired, Observed, State, Task

_OBSERVED = msgspec.json.Decoder(Observed)

TASKS = select(task, checkpoint.c.observed).outerjoin(checkpoint, checkpoint.c.task_key == task.c.key)
_TASK_FIELDS = tuple(column.name for column in TASKS.selected_columns)
_NEWEST_FIRST = (task.c.updated_at.desc(), task.c.key.desc())

OF_ACCOUNT = task.c.account_id == bindparam("account_id")
OF_FAMILY = task.c.family == bindparam("family")
_TASK = Prepared(TASKS.where(schema.VISIBLE, OF_ACCOUNT, OF_FAMILY, task.c.id == bindparam("id")), keeps=task)
_VISIBLE_ROW = Prepared(TASKS.where(schema.VISIBLE, task.c.key == bindparam("key")), keeps=task)
_COUNT = Prepared(select(func.count()).where(schema.VISIBLE, OF_ACCOUNT, OF_FAMILY))
_OF_DOMAIN = (
    schema.OF_DOMAIN,
    OF_ACCOUNT,
    OF_FAMILY,
    task.c.domain == bindparam("domain"),
    task.c.created_at >= bindparam("since"),
    task.c.created_at <= bindparam("until"),
)
_ALL_OF_DOMAIN = TASKS.where(*_OF_DOMAIN).order_by(task.c.created_at.desc(), task.c.key.desc())
_DOMAIN = Prepared(_ALL_OF_DOMAIN)
_DOMAIN_PAGE = Prepared(_ALL_OF_DOMAIN.offset(bindparam("offset")).limit(bindparam("limit")))
_DOMAIN_COUNT = Prepared(select(func.count()).where(*_OF_DOMAIN))
#: By their values, which are all there are: an enumeration's own lookup costs more.
_DESIRED: Mapping[str, Desired] = {one.value: one for one in Desired}
_STATES: Mapping[str, State] = {one.value: one for one in State}


@cache
def _page(*, of_account: bool, of_family: bool, limited: bool) -> Prepared:
    """Some tasks, those changed last first. The page is cut from the index alone; only its rows are read."""
    keys = select(task.c.key).where(schema.VISIBLE)
    keys = keys.where(OF_ACCOUNT) if of_account else keys
    keys = keys.where(OF_FAMILY) if of_family else keys
    keys = keys.order_by(*_NEWEST_FIRST).offset(bindparam("offset"))
    keys = keys.limit(bindparam("limit")) if limited else keys
    return Prepared(TASKS.where(task.c.key.in_(keys)).order_by(*_NEWEST_FIRST))


class SqlReading(SqlAccounts):
    """Reads of tasks; see `penstock.tasks.ports.Tx` for what is promised."""

    def task(self, account_id: int, family: str, id: str) -> Task | None:
        if "\0" in id:  # which PostgreSQL refuses to look for
            return None
        return next(iter(self._those(_TASK, account_id=account_id, family=family, id=id)), None)

    def task_by_key(self, key: int) -> Task | None:
        return next(iter(self._those(_VISIBLE_ROW, key=key)), None)

    def tasks(self, account_id: int | None, family: str | None, *, offset: int = 0, limit: int = -1) -> Sequence[Task]:
        page = _page(of_account=account_id is not None, of_family=family is not None, limited=limit >= 0)
        return self._those(page, account_id=account_id, family=family, offset=min(offset, 2**62), limit=limit)

    def count_tasks(self, account_id: int, family: str) -> int:
        [(number,)] = _COUNT.rows(self._db, account_id=account_id, family=family)
        return int(number)

    def tasks_of_domain(
        self,
        account_id: int,
        family: str,
        domain: str,
        *,
        since: int,
        until: int,
        offset: int = 0,
        limit: int = -1,
    ) -> Sequence[Task]:
        page = _DOMAIN_PAGE if limit >= 0 else _DOMAIN
        given = {"account_id": account_id, "family": family, "domain": domain, "since": since, "until": until}
        return self._those(page, **given, offset=min(offset, 2**62), limit=limit)

    def count_tasks_of_domain(self, account_id: int, family: str, domain: str, *, since: int, until: int) -> int:
        [(number,)] = _DOMAIN_COUNT.rows(
            self._db, account_id=account_id, family=family, domain=domain, since=since, until=until
        )
        return int(number)

    # how it is done

    def _those(self, query: Prepared, **values: object) -> list[Task]:
        return [self._task(row) for row in query.rows(self._db, writes=self._writes, **values)]

    def _all(self, query: "Select[Any]", **values: object) -> list[Task]:
        return [self._task(row) for row in self._db.execute(query, values)]

    def _task(self, row: Sequence[Any]) -> Task:
        values = dict(zip(_TASK_FIELDS, row, strict=True))
        context = spec_context(values["account_id"], values["family"], values["id"])
        values["spec"] = self._sealer.open(values["spec"], context)
        values["desired"] = _DESIRED[values["desired"]]
        values["state"] = _STATES[values["state"]]
        if observed := values["observed"]:
            values["observed"] = _OBSERVED.decode(observed)
        return Task(**values)


def spec_context(account_id: int, family: str, task_id: str) -> str:
    return f"task.spec:{account_id}:{family}:{task_id}"
