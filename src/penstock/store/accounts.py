"""The verbs of one transaction that are about accounts; the rest are in `penstock.store.tx`."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, Table, bindparam, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert  # SQLite's is the same
from sqlalchemy.exc import IntegrityError

from penstock.errors import Conflict
from penstock.store import schema
from penstock.store.prepared import Prepared
from penstock.store.schema import access_key, account, callback_key, domain, edge, push_key, sdk_app
from penstock.store.secrets import Sealer
from penstock.tasks.model import AccessKey, Account, Area, Domain, Edge, SdkApp, ServiceName, ServiceState

#: The first account's AppId is one more.
APP_ID_BASE = 1_300_000_000

_KEY = Prepared(select(access_key).where(access_key.c.secret_id == bindparam("secret_id")))
_ACCOUNT = Prepared(select(account).where(account.c.id == bindparam("account_id")), keeps=account)
_NAMED = Prepared(select(account).where(account.c.name == bindparam("account_name")), keeps=account)

_EDGE = msgspec.json.Decoder(Edge)
_SUSPENDED = msgspec.json.Decoder(dict[ServiceName, ServiceState])


class SqlAccounts:
    """Accounts, their keys, applications and domains, and edges; see `penstock.tasks.ports.Tx` for what is promised."""

    def __init__(self, connection: Connection, sealer: Sealer, *, writes: bool) -> None:
        """`writes`: what is looked up may be changed, so others must not change it meanwhile."""
        self._db = connection
        self._sealer = sealer
        self._writes = writes

    def add_account(self, name: str, *, task_limit: int) -> Account:
        number = self._next("account", 1)
        added = Account(id=number, name=name, app_id=APP_ID_BASE + number, task_limit=task_limit)
        values = {"id": number, "name": name, "app_id": added.app_id, "task_limit": task_limit}
        try:
            self._db.execute(insert(account), values)
        except IntegrityError as error:
            raise Conflict(f"There is an account {name} already.") from error
        return added

    def account(self, account_id: int) -> Account | None:
        row = _ACCOUNT.row(self._db, writes=self._writes, account_id=account_id)
        return _account_of(row) if row else None

    def account_named(self, name: str) -> Account | None:
        row = _NAMED.row(self._db, writes=self._writes, account_name=name)
        return _account_of(row) if row else None

    def first_account(self) -> Account | None:
        row = self._db.execute(select(account).order_by(account.c.id).limit(1)).first()
        return _account_of(row._asdict()) if row else None

    def accounts(self) -> Sequence[Account]:
        return [_account_of(row._asdict()) for row in self._db.execute(select(account).order_by(account.c.id))]

    def change_account(
        self,
        account_id: int,
        *,
        task_limit: int | None = None,
        suspended: Mapping[ServiceName, ServiceState] | None = None,
    ) -> None:
        values: dict[str, Any] = {} if task_limit is None else {"task_limit": task_limit}
        if suspended is not None:
            values["suspended"] = msgspec.json.encode(suspended, order="sorted").decode()
        self._db.execute(update(account).where(account.c.id == account_id).values(values))

    def add_key(self, key: AccessKey) -> None:
        sealed = self._sealer.seal(key.secret_key.encode(), _key_context(key.secret_id))
        self._db.execute(insert(access_key), msgspec.structs.asdict(key) | {"secret_key": sealed})

    def key(self, secret_id: str) -> AccessKey | None:
        row = _KEY.row(self._db, secret_id=secret_id) if "\0" not in secret_id else None
        return self._access_key(row) if row else None

    def keys(self, account_id: int) -> Sequence[AccessKey]:
        query = select(access_key).where(access_key.c.account_id == account_id)
        rows = self._db.execute(query.order_by(access_key.c.secret_id))
        return [self._access_key(row._asdict()) for row in rows]

    def enable_keys(self, account_id: int, enabled: bool) -> None:
        self._db.execute(update(access_key).where(access_key.c.account_id == account_id).values(enabled=enabled))

    def remove_keys(self, account_id: int) -> None:
        self._db.execute(delete(access_key).where(access_key.c.account_id == account_id))

    def callback_key(self, account_id: int) -> str | None:
        return self._account_keys(callback_key, account_id).get(account_id)

    def set_callback_key(self, account_id: int, secret_key: str) -> None:
        self._set_account_key(callback_key, account_id, secret_key)

    def push_keys(self, account_id: int | None = None) -> Mapping[int, str]:
        return self._account_keys(push_key, account_id)

    def set_push_key(self, account_id: int, secret_key: str) -> None:
        self._set_account_key(push_key, account_id, secret_key)

    def add_sdk_app(self, app: SdkApp) -> None:
        sealed = self._sealer.seal(app.secret_key.encode(), _app_context(app.sdk_app_id))
        try:
            self._db.execute(insert(sdk_app), msgspec.structs.asdict(app) | {"secret_key": sealed})
        except IntegrityError as error:
            raise Conflict(f"SdkAppId {app.sdk_app_id} belongs to an account already.") from error

    def sdk_app(self, sdk_app_id: int) -> SdkApp | None:
        return next(iter(self._sdk_apps(select(sdk_app).where(sdk_app.c.sdk_app_id == sdk_app_id))), None)

    def sdk_apps(self, account_id: int) -> Sequence[SdkApp]:
        query = select(sdk_app).where(sdk_app.c.account_id == account_id)
        return self._sdk_apps(query.order_by(sdk_app.c.sdk_app_id))

    def add_domain(self, added: Domain) -> None:
        try:
            self._db.execute(insert(domain), msgspec.structs.asdict(added))
        except IntegrityError as error:
            raise Conflict(f"The domain {added.name} belongs to an account already.") from error

    def domain(self, name: str) -> Domain | None:
        row = self._db.execute(select(domain).where(domain.c.name == name)).first()
        return _domain_of(row._asdict()) if row else None

    def domains(self, account_id: int | None = None) -> Sequence[Domain]:
        query = select(domain).order_by(domain.c.name)
        if account_id is not None:
            query = query.where(domain.c.account_id == account_id)
        return [_domain_of(row._asdict()) for row in self._db.execute(query)]

    def add_edge(self, added: Edge) -> None:
        sealed = self._sealer.seal(msgspec.json.encode(added), _edge_context(added.name))
        try:
            self._db.execute(insert(edge), {"name": added.name, "sealed": sealed})
        except IntegrityError as error:
            raise Conflict(f"There is an edge {added.name} already.") from error

    def edges(self) -> Sequence[Edge]:
        rows = self._db.execute(select(edge).order_by(edge.c.name))
        return [_EDGE.decode(self._sealer.open(row.sealed, _edge_context(row.name))) for row in rows]

    def remove_edge(self, name: str) -> bool:
        return self._db.execute(delete(edge).where(edge.c.name == name)).rowcount > 0

    # how it is done

    def _next(self, name: str, first: int) -> int:
        """The next number of a sequence."""
        numbers = schema.sequence
        given = upsert(numbers).values(name=name, value=first)
        raised = {"value": numbers.c.value + 1}
        given = given.on_conflict_do_update(index_elements=[numbers.c.name], set_=raised)
        return int(self._db.execute(given.returning(numbers.c.value)).scalar_one())

    def _account_keys(self, table: Table, account_id: int | None) -> Mapping[int, str]:
        """The keys in a table that holds one for each account that has one: of this account, or of all."""
        query = select(table)
        if account_id is not None:
            query = query.where(table.c.account_id == account_id)
        rows = self._db.execute(query).all()
        return {id_: self._sealer.open(sealed, _account_context(table, id_)).decode() for id_, sealed in rows}

    def _set_account_key(self, table: Table, account_id: int, secret_key: str) -> None:
        sealed = self._sealer.seal(secret_key.encode(), _account_context(table, account_id))
        statement = upsert(table).values(account_id=account_id, secret_key=sealed)
        one = [table.c.account_id]
        self._db.execute(statement.on_conflict_do_update(index_elements=one, set_={"secret_key": sealed}))

    def _access_key(self, row: Mapping[str, Any]) -> AccessKey:
        return AccessKey(
            secret_id=row["secret_id"],
            secret_key=self._sealer.open(row["secret_key"], _key_context(row["secret_id"])).decode(),
            account_id=row["account_id"],
            enabled=bool(row["enabled"]),
        )

    def _sdk_apps(self, query: "Select[Any]") -> list[SdkApp]:
        return [
            SdkApp(
                sdk_app_id=row.sdk_app_id,
                account_id=row.account_id,
                secret_key=self._sealer.open(row.secret_key, _app_context(row.sdk_app_id)).decode(),
            )
            for row in self._db.execute(query)
        ]


def _account_of(row: dict[str, Any]) -> Account:
    return Account(**row | {"suspended": _SUSPENDED.decode(row["suspended"])})


def _domain_of(row: dict[str, Any]) -> Domain:
    return Domain(**row | {"area": Area(row["area"])})


def _key_context(secret_id: str) -> str:
    return f"access_key.secret_key:{secret_id}"


def _account_context(table: Table, account_id: int) -> str:
    return f"{table.name}.secret_key:{account_id}"


def _edge_context(name: str) -> str:
    return f"edge.sealed:{name}"


def _app_context(sdk_app_id: int) -> str:
    return f"sdk_app.secret_key:{sdk_app_id}"
