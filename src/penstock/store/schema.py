"""The tables, as the newest migration leaves them. Times are Unix milliseconds.

`penstock.store.migrations` makes them; a test keeps the two equal.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

metadata = MetaData()

#: 64 bits everywhere; only INTEGER makes a SQLite column the row's own number.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

#: What must fit the key store; see `penstock.store.secrets`.
key_check = Table(
    "key_check",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

#: The last number of each sequence that was given out.
sequence = Table(
    "sequence",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

account = Table(
    "account",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("app_id", BigInteger, nullable=False),
    Column("task_limit", Integer, nullable=False),
    #: JSON of `penstock.tasks.model.Account.suspended`.
    Column("suspended", Text, nullable=False, server_default="{}"),
    UniqueConstraint("name", name="account_name"),
    UniqueConstraint("app_id", name="account_app_id"),
)

access_key = Table(
    "access_key",
    metadata,
    Column("secret_id", Text, primary_key=True),
    Column("account_id", Integer, ForeignKey("account.id"), nullable=False),
    #: Sealed.
    Column("secret_key", LargeBinary, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Index("access_key_account", "account_id"),
)

sdk_app = Table(
    "sdk_app",
    metadata,
    Column("sdk_app_id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", Integer, ForeignKey("account.id"), nullable=False),
    #: Sealed.
    Column("secret_key", LargeBinary, nullable=False),
    Index("sdk_app_account", "account_id"),
)

#: What signs an account's callbacks.
callback_key = Table(
    "callback_key",
    metadata,
    Column("account_id", Integer, ForeignKey("account.id"), primary_key=True, autoincrement=False),
    #: Sealed.
    Column("secret_key", LargeBinary, nullable=False),
)

#: What signs publishing to the hub under an account's domains.
push_key = Table(
    "push_key",
    metadata,
    Column("account_id", Integer, ForeignKey("account.id"), primary_key=True, autoincrement=False),
    #: Sealed.
    Column("secret_key", LargeBinary, nullable=False),
)

#: The operator's edge nodes.
edge = Table(
    "edge",
    metadata,
    Column("name", Text, primary_key=True),
    #: JSON of `penstock.tasks.model.Edge`; sealed, since its query may hold a token.
    Column("sealed", LargeBinary, nullable=False),
)

domain = Table(
    "domain",
    metadata,
    Column("name", Text, primary_key=True),
    Column("account_id", Integer, ForeignKey("account.id"), nullable=False),
    Column("area", Text, nullable=False),
    Index("domain_account", "account_id"),
)

task = Table(
    "task",
    metadata,
    Column("key", _NUMBER, primary_key=True),
    Column("account_id", Integer, ForeignKey("account.id"), nullable=False),
    Column("family", Text, nullable=False),
    Column("id", Text, nullable=False),
    #: Sealed.
    Column("spec", LargeBinary, nullable=False),
    Column("desired", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("state_at", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("start_at", BigInteger, nullable=False),
    Column("end_at", BigInteger),
    Column("region", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("updated_by", Text, nullable=False),
    Column("owner", Text),
    Column("epoch", BigInteger, nullable=False),
    #: In lower case; empty: of no domain in particular.
    Column("domain", Text, nullable=False, server_default=text("''")),
    #: Those of one affinity run on one worker: a keyed digest; empty: anywhere.
    Column("affinity", Text, nullable=False, server_default=text("''")),
    sqlite_autoincrement=True,
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("task_key", _NUMBER, ForeignKey("task.key", ondelete="CASCADE"), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    #: JSON of `penstock.tasks.model.Observed`.
    Column("observed", LargeBinary, nullable=False),
)

event = Table(
    "event",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("task_key", _NUMBER, ForeignKey("task.key", ondelete="CASCADE"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("by", Text, nullable=False),
    Index("event_task", "task_key", "id"),
    Index("event_at", "at"),
    sqlite_autoincrement=True,
)

# A partial index serves a query only if the query holds the index's condition in so many words, never as a
# bound parameter: these are for both.
#: Rows that callers see.
VISIBLE = task.c.desired != literal_column("'delete'")
#: Rows that callers no longer see and that wait for their worker to let go.
DOOMED = task.c.desired == literal_column("'delete'")
OWNED = task.c.owner.is_not(None)
#: Rows that keep others like them on their worker.
TETHERING = OWNED & (task.c.affinity != literal_column("''"))
#: Rows that callers see, by their domain.
OF_DOMAIN = VISIBLE & (task.c.domain != literal_column("''"))
WAITING = task.c.state == literal_column("'waiting'")
ENDED = task.c.state == literal_column("'ended'")
#: Rows without an owner that the passing of time may end.
MAY_END = task.c.owner.is_(None) & task.c.state.in_(
    [literal_column(f"'{state}'") for state in ("waiting", "paused", "suspended")]
)


def _partial(name: str, *columns: object, where: object, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)  # type: ignore[arg-type]


_partial("task_id", task.c.account_id, task.c.family, task.c.id, where=VISIBLE, unique=True)
_partial(
    "task_listing",
    task.c.account_id,
    task.c.family,
    task.c.updated_at.desc(),
    task.c.key.desc(),
    where=VISIBLE,
)
_partial(
    "task_domain",
    task.c.account_id,
    task.c.family,
    task.c.domain,
    task.c.created_at.desc(),
    task.c.key.desc(),
    where=OF_DOMAIN,
)
_partial("task_all", task.c.updated_at.desc(), task.c.key.desc(), where=VISIBLE)
_partial("task_waiting", task.c.start_at, task.c.key, where=WAITING)
_partial("task_owner", task.c.owner, where=OWNED)
_partial("task_affinity", task.c.affinity, where=TETHERING)
_partial("task_may_end", task.c.end_at, where=MAY_END)
_partial("task_doomed", task.c.key, where=DOOMED)
_partial("task_ended", task.c.state_at, where=ENDED)
