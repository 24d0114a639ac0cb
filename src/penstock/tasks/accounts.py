"""Accounts, their keys and their applications (SdkAppIds)."""

import re
import secrets
import string
from collections.abc import Sequence

from penstock.errors import AccountNotFound, Conflict, InvalidField
from penstock.tasks.model import AccessKey, Account, SdkApp, Struct
from penstock.tasks.ports import Store, Tx

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_ALPHANUMERIC = string.ascii_letters + string.digits
#: Largest SdkAppId: an unsigned 32-bit number.
MAX_SDK_APP_ID = 2**32 - 1


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
    secret_id, secret_key = "AKID" + _alphanumeric(32), _alphanumeric(32)
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
    )


def _alphanumeric(length: int) -> str:
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))
