"""Accounts: their keys, the services they may use, their applications (SdkAppIds) and domains."""

import re
import secrets
import string
from collections.abc import Mapping, Sequence

from penstock.errors import AccountNotFound, Conflict, InvalidField, ServiceNotActive
from penstock.tasks import usersig
from penstock.tasks.addresses import check_host
from penstock.tasks.families import preload, pull
from penstock.tasks.model import AccessKey, Account, Area, Domain, SdkApp, ServiceName, ServiceState, Struct
from penstock.tasks.ports import Store, Tx

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_ALPHANUMERIC = string.ascii_letters + string.digits
#: Largest SdkAppId: an unsigned 32-bit number.
MAX_SDK_APP_ID = 2**32 - 1
#: Most live pull tasks that an account can be given.
MAX_TASK_LIMIT = 10_000_000
#: Longest UserId, in bytes of UTF-8.
MAX_USER_ID = 255

#: Whose tasks stop when a service is not active.
FAMILIES: Mapping[ServiceName, str] = {ServiceName.LIVE: pull.FAMILY, ServiceName.PRELOAD: preload.FAMILY}


class NewSdkApp(Struct):
    """An application with its secret in clear."""

    sdk_app_id: int
    secret_key: str


class NewAccount(Struct):
    """An account with its secrets in clear: shown once, when it is made."""

    name: str
    app_id: int
    secret_id: str
    secret_key: str
    sdk_apps: tuple[NewSdkApp, ...]


class NewKey(Struct):
    """An account's new access key, with its secret in clear: shown once, when it is made."""

    name: str
    secret_id: str
    secret_key: str
    #: False: the account is disabled, and so is this key.
    enabled: bool


class KeyView(Struct):
    """An access key without its secret."""

    secret_id: str
    enabled: bool


class AccountView(Struct):
    """An account without any secret."""

    name: str
    app_id: int
    #: Live pull tasks that may exist at once.
    task_limit: int
    keys: tuple[KeyView, ...]
    sdk_apps: tuple[int, ...]
    #: The state of every service.
    services: Mapping[str, str]
    domains: tuple[str, ...]


class DomainView(Struct):
    """A domain and whose it is."""

    domain: str
    account: str
    area: Area


class UserSig(Struct):
    """A user's ticket."""

    sdk_app_id: int
    user_id: str
    user_sig: str
    #: Unix seconds.
    expires_at: int


async def create_account(
    store: Store, name: str, *, sdk_app_ids: Sequence[int] = (), task_limit: int = 20
) -> NewAccount:
    """Make an account with one access key and these applications.

    Raise `InvalidField` for a name or SdkAppId that cannot be, `Conflict` for one that is taken.
    """
    if not _NAME.fullmatch(name):
        raise InvalidField(
            "name", "An account's name is 1 to 64 letters, digits, dots, hyphens, underscores or at signs."
        )
    for number in sdk_app_ids:
        if not 1 <= number <= MAX_SDK_APP_ID:
            raise InvalidField("sdk_app_id", f"An SdkAppId is a number from 1 to {MAX_SDK_APP_ID}.")
    secret_id, secret_key = _new_key()
    apps = tuple(NewSdkApp(sdk_app_id=number, secret_key=secrets.token_hex(32)) for number in sdk_app_ids)

    def work(tx: Tx) -> Account:
        account = tx.add_account(name, task_limit=task_limit)
        tx.add_key(AccessKey(secret_id=secret_id, secret_key=secret_key, account_id=account.id))
        for app in apps:
            tx.add_sdk_app(SdkApp(sdk_app_id=app.sdk_app_id, secret_key=app.secret_key, account_id=account.id))
        return account

    account = await store.write(work)
    return NewAccount(name=name, app_id=account.app_id, secret_id=secret_id, secret_key=secret_key, sdk_apps=apps)


async def list_accounts(store: Store) -> Sequence[AccountView]:
    """All accounts, in the order of their making."""
    return await store.read(lambda tx: [_view(tx, account) for account in tx.accounts()])


async def show_account(store: Store, name: str | None = None) -> AccountView:
    """The account of this name; without a name the only one there is.

    Raise `AccountNotFound`, or `Conflict` where there are several and none is named.
    """
    return await store.read(lambda tx: _view(tx, find_account(tx, name)))


async def rotate_key(store: Store, name: str) -> NewKey:
    """Give an account a new access key in place of the old one, which is refused from now on.

    Raise `AccountNotFound`.
    """
    secret_id, secret_key = _new_key()

    def work(tx: Tx) -> NewKey:
        account = find_account(tx, name)
        enabled = all(key.enabled for key in tx.keys(account.id))
        tx.remove_keys(account.id)
        tx.add_key(AccessKey(secret_id=secret_id, secret_key=secret_key, account_id=account.id, enabled=enabled))
        return NewKey(name=name, secret_id=secret_id, secret_key=secret_key, enabled=enabled)

    return await store.write(work)


async def enable_account(store: Store, name: str, *, enabled: bool) -> AccountView:
    """Accept the calls of an account, or refuse them all. What runs goes on. Raise `AccountNotFound`."""

    def work(tx: Tx) -> AccountView:
        account = find_account(tx, name)
        tx.enable_keys(account.id, enabled)
        return _view(tx, account)

    return await store.write(work)


async def set_task_limit(store: Store, name: str, limit: int) -> AccountView:
    """Say how many live pull tasks an account may have; those it has stay. Raise `AccountNotFound`, `InvalidField`."""
    if not 0 <= limit <= MAX_TASK_LIMIT:
        raise InvalidField("tasks", f"The limit of tasks is a number from 0 to {MAX_TASK_LIMIT}.")

    def work(tx: Tx) -> AccountView:
        tx.change_account(find_account(tx, name).id, task_limit=limit)
        return _view(tx, find_account(tx, name))

    return await store.write(work)


async def set_service(
    store: Store, name: str, service: ServiceName, state: ServiceState, *, now: int, by: str
) -> AccountView:
    """Put a service of an account into a state, and suspend or reinstate its tasks. Workers must be hinted then.

    Raise `AccountNotFound`.
    """

    def work(tx: Tx) -> AccountView:
        account = find_account(tx, name)
        suspended = {one: why for one, why in account.suspended.items() if one is not service}
        if state is not ServiceState.ACTIVE:
            suspended[service] = state
        tx.change_account(account.id, suspended=suspended)
        if service in FAMILIES:
            change = tx.reinstate if state is ServiceState.ACTIVE else tx.suspend
            change(account.id, FAMILIES[service], at=now, by=by, text=f"the account's service {service} is {state}")
        return _view(tx, find_account(tx, name))

    return await store.write(work)


async def callback_key(store: Store, name: str, *, renew: bool = False) -> str:
    """The key that signs an account's callbacks; made if there is none, or if it is to be renewed.

    Raise `AccountNotFound`.
    """

    def work(tx: Tx) -> str:
        account = find_account(tx, name)
        key = tx.callback_key(account.id)
        if key is None or renew:
            key = _alphanumeric(32)
            tx.set_callback_key(account.id, key)
        return key

    return await store.write(work)


async def push_key(store: Store, name: str, *, renew: bool = False) -> str:
    """The key that signs publishing to the hub under an account's domains; made if there is none, or to be renewed.

    Raise `AccountNotFound`.
    """

    def work(tx: Tx) -> str:
        account = find_account(tx, name)
        key = tx.push_keys(account.id).get(account.id)
        if key is None or renew:
            key = _alphanumeric(32)
            tx.set_push_key(account.id, key)
        return key

    return await store.write(work)


async def add_domain(store: Store, name: str, account: str | None, *, area: Area) -> DomainView:
    """Let a domain belong to an account. Raise `AccountNotFound`, `InvalidField`, or `Conflict` if it is taken."""
    name = name.lower().removesuffix(".")
    try:
        check_host(name)
    except ValueError as error:
        raise InvalidField("domain", f"{name!r} is not a domain: {error}.") from None

    def work(tx: Tx) -> DomainView:
        owner = find_account(tx, account)
        tx.add_domain(Domain(name=name, account_id=owner.id, area=area))
        return DomainView(domain=name, account=owner.name, area=area)

    return await store.write(work)


async def list_domains(store: Store, account: str | None = None) -> Sequence[DomainView]:
    """The domains of one account or of all, by name. Raise `AccountNotFound`."""

    def work(tx: Tx) -> Sequence[DomainView]:
        names = {one.id: one.name for one in tx.accounts()}
        found = tx.domains(find_account(tx, account).id if account else None)
        return [DomainView(domain=one.name, account=names[one.account_id], area=one.area) for one in found]

    return await store.read(work)


async def make_usersig(store: Store, sdk_app_id: int, user_id: str, *, at: int, expire: int) -> UserSig:
    """The ticket of a user of an application, good for `expire` seconds from `at` (Unix seconds).

    Raise `AccountNotFound` if no account has the application, `InvalidField`.
    """
    if not user_id or not user_id.isprintable() or len(user_id.encode()) > MAX_USER_ID:
        raise InvalidField("user_id", f"A UserId is 1 to {MAX_USER_ID} bytes without special characters.")
    if expire < 1:
        raise InvalidField("expire", "A UserSig is good for at least one second.")
    app = await store.read(lambda tx: tx.sdk_app(sdk_app_id))
    if app is None:
        raise AccountNotFound(f"No account has the SdkAppId {sdk_app_id}.")
    ticket = usersig.make(sdk_app_id, user_id, app.secret_key, at=at, expire=expire)
    return UserSig(sdk_app_id=sdk_app_id, user_id=user_id, user_sig=ticket, expires_at=at + expire)


def check_service(tx: Tx, account_id: int, service: ServiceName) -> Account:
    """The account, which may use the service now. Raise `ServiceNotActive`, `AccountNotFound`."""
    account = tx.account(account_id)
    if account is None:
        raise AccountNotFound
    state = account.service(service)
    if state is not ServiceState.ACTIVE:
        raise ServiceNotActive(service, state)
    return account


def domain_owner(tx: Tx, host: str, *, is_hub: bool) -> int | None:
    """The account that a domain belongs to. Our hub's belong to the first account, unless they were given away."""
    domain = tx.domain(host.lower().removesuffix("."))
    if domain is not None:
        return domain.account_id
    first = tx.first_account() if is_hub else None
    return first.id if first else None


def clean_host(host: str) -> str:
    """A host as domains are kept: in lower case, without a port and a final dot."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).lower().removesuffix(".")


def find_account(tx: Tx, name: str | None = None) -> Account:
    """As `show_account`, the model's record."""
    if name is not None:
        account = tx.account_named(name)
        if account is None:
            raise AccountNotFound(f"There is no account {name!r}.")
        return account
    accounts = tx.accounts()
    if not accounts:
        raise AccountNotFound("There is no account yet; make one with: penstock account create NAME")
    if len(accounts) > 1:
        names = ", ".join(account.name for account in accounts)
        raise Conflict(f"There are several accounts ({names}); say which with --account.")
    return accounts[0]


def _view(tx: Tx, account: Account) -> AccountView:
    return AccountView(
        name=account.name,
        app_id=account.app_id,
        task_limit=account.task_limit,
        keys=tuple(KeyView(secret_id=key.secret_id, enabled=key.enabled) for key in tx.keys(account.id)),
        sdk_apps=tuple(app.sdk_app_id for app in tx.sdk_apps(account.id)),
        services={name.value: account.service(name).value for name in ServiceName},
        domains=tuple(domain.name for domain in tx.domains(account.id)),
    )


def _new_key() -> tuple[str, str]:
    return "AKID" + _alphanumeric(32), _alphanumeric(32)


def _alphanumeric(length: int) -> str:
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))
