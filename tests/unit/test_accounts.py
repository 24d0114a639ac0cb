"""Accounts: their look is the vendor's, their secrets are shown once."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from penstock.errors import AccountNotFound, Conflict, InvalidField
from penstock.store.sql import SqlStore
from penstock.tasks.accounts import create_account, list_accounts, show_account
from tests.unit.making import open_new


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = open_new(tmp_path)
    yield store
    store.close()


async def test_new_account_is_printed_in_the_documented_shape(store: SqlStore) -> None:
    made = msgspec.json.decode(msgspec.json.encode(await create_account(store, "demo", sdk_app_ids=[1400000001])))
    assert list(made) == ["name", "app_id", "secret_id", "secret_key", "sdk_apps"]
    assert (made["name"], made["app_id"]) == ("demo", 1_300_000_001)
    assert re.fullmatch("AKID[A-Za-z0-9]{32}", made["secret_id"])
    assert re.fullmatch("[A-Za-z0-9]{32}", made["secret_key"])
    [app] = made["sdk_apps"]
    assert list(app) == ["sdk_app_id", "secret_key"]
    assert app["sdk_app_id"] == 1_400_000_001
    assert re.fullmatch("[0-9a-f]{64}", app["secret_key"])


async def test_key_of_an_account_is_found_by_its_id(store: SqlStore) -> None:
    made = await create_account(store, "demo")
    key = await store.read(lambda tx: tx.key(made.secret_id))
    assert key is not None
    assert (key.secret_key, key.enabled) == (made.secret_key, True)
    assert await store.read(lambda tx: tx.key("AKIDnobody")) is None


async def test_every_account_has_its_own_app_id_and_key(store: SqlStore) -> None:
    first, second = await create_account(store, "a"), await create_account(store, "b")
    assert first.app_id != second.app_id
    assert first.secret_id != second.secret_id


async def test_taken_name_is_a_conflict(store: SqlStore) -> None:
    await create_account(store, "demo")
    with pytest.raises(Conflict, match="demo"):
        await create_account(store, "demo")


async def test_taken_sdk_app_id_is_a_conflict_and_leaves_no_account_behind(store: SqlStore) -> None:
    await create_account(store, "a", sdk_app_ids=[1400000001])
    with pytest.raises(Conflict, match="1400000001"):
        await create_account(store, "b", sdk_app_ids=[1400000002, 1400000001])
    assert [account.name for account in await list_accounts(store)] == ["a"]


async def test_sdk_app_id_given_twice_is_a_conflict(store: SqlStore) -> None:
    with pytest.raises(Conflict):
        await create_account(store, "a", sdk_app_ids=[7, 7])


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 65, "a\n", "名", "a/b"])
async def test_name_that_cannot_be_typed_is_refused(store: SqlStore, name: str) -> None:
    with pytest.raises(InvalidField):
        await create_account(store, name)


@pytest.mark.parametrize("number", [-1, 0, 2**32])
async def test_sdk_app_id_outside_its_range_is_refused(store: SqlStore, number: int) -> None:
    with pytest.raises(InvalidField):
        await create_account(store, "a", sdk_app_ids=[number])


async def test_shown_account_holds_no_secret(store: SqlStore) -> None:
    made = await create_account(store, "demo", sdk_app_ids=[2, 1], task_limit=7)
    shown = await show_account(store)
    assert (shown.name, shown.app_id, shown.task_limit, shown.sdk_apps) == ("demo", made.app_id, 7, (1, 2))
    text = msgspec.json.encode(shown).decode()
    assert made.secret_id in text
    assert not any(secret in text for secret in (made.secret_key, made.sdk_apps[0].secret_key))


async def test_only_account_needs_no_name(store: SqlStore) -> None:
    with pytest.raises(AccountNotFound, match="account create"):
        await show_account(store)
    await create_account(store, "a")
    assert (await show_account(store)).name == "a"
    await create_account(store, "b")
    with pytest.raises(Conflict, match=r"a, b.*--account"):
        await show_account(store)
    assert (await show_account(store, "b")).name == "b"
    with pytest.raises(AccountNotFound, match="'c'"):
        await show_account(store, "c")
