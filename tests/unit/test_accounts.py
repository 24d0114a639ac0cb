"""Accounts: their look is the vendor's, their secrets are shown once; what belongs to them is theirs alone."""

import re

import msgspec
import pytest

from penstock.errors import AccountNotFound, Conflict, InvalidField
from penstock.store.sql import SqlStore
from penstock.tasks import usersig
from penstock.tasks.accounts import (
    DomainView,
    add_domain,
    callback_key,
    create_account,
    domain_owner,
    enable_account,
    list_accounts,
    list_domains,
    make_usersig,
    rotate_key,
    set_service,
    set_task_limit,
    show_account,
)
from penstock.tasks.model import Area, ServiceName, ServiceState, State
from tests.unit.making import NOW, add_task, read_task
from tests.unit.place import Place


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


class TestKeys:
    """Rotation, and the account's switch."""

    async def test_rotation_replaces_the_key_at_once(self, store: SqlStore) -> None:
        old = await create_account(store, "demo")
        new = await rotate_key(store, "demo")
        assert re.fullmatch("AKID[A-Za-z0-9]{32}", new.secret_id)
        assert (new.secret_id, new.secret_key) != (old.secret_id, old.secret_key)
        assert await store.read(lambda tx: tx.key(old.secret_id)) is None
        found = await store.read(lambda tx: tx.key(new.secret_id))
        assert found is not None
        assert (found.secret_key, found.enabled) == (new.secret_key, True)
        assert [key.secret_id for key in (await show_account(store)).keys] == [new.secret_id]

    async def test_rotation_leaves_other_accounts_alone(self, store: SqlStore) -> None:
        other = await create_account(store, "other")
        await create_account(store, "demo")
        await rotate_key(store, "demo")
        assert await store.read(lambda tx: tx.key(other.secret_id)) is not None

    async def test_disabled_account_has_no_key_that_works_until_it_is_enabled(self, store: SqlStore) -> None:
        made = await create_account(store, "demo")
        shown = await enable_account(store, "demo", enabled=False)
        assert [(key.secret_id, key.enabled) for key in shown.keys] == [(made.secret_id, False)]
        shown = await enable_account(store, "demo", enabled=True)
        assert [key.enabled for key in shown.keys] == [True]

    async def test_rotation_opens_no_disabled_account(self, store: SqlStore) -> None:
        await create_account(store, "demo")
        await enable_account(store, "demo", enabled=False)
        assert not (await rotate_key(store, "demo")).enabled
        await enable_account(store, "demo", enabled=True)
        assert (await rotate_key(store, "demo")).enabled

    async def test_callback_key_is_made_once_and_renewed_when_asked(self, store: SqlStore, place: Place) -> None:
        await create_account(store, "demo")
        key = await callback_key(store, "demo")
        assert re.fullmatch("[A-Za-z0-9]{32}", key)
        assert await callback_key(store, "demo") == key
        renewed = await callback_key(store, "demo", renew=True)
        assert renewed != key
        assert await callback_key(store, "demo") == renewed
        stored = place.everything()
        assert renewed.encode() not in stored


class TestServices:
    """States of services."""

    async def test_every_service_of_a_new_account_is_active(self, store: SqlStore) -> None:
        await create_account(store, "demo")
        active = dict.fromkeys(["live", "mdc", "trtc", "tiw", "preload"], "active")
        assert (await show_account(store)).services == active

    async def test_service_is_put_into_a_state_alone(self, store: SqlStore) -> None:
        await create_account(store, "demo")
        await create_account(store, "other")
        await set_service(store, "demo", ServiceName.MDC, ServiceState.ARREARS, now=NOW, by="admin")
        shown = await set_service(store, "demo", ServiceName.LIVE, ServiceState.FROZEN, now=NOW, by="admin")
        assert {name: state for name, state in shown.services.items() if state != "active"} == {
            "live": "frozen",
            "mdc": "arrears",
        }
        shown = await set_service(store, "demo", ServiceName.LIVE, ServiceState.ACTIVE, now=NOW, by="admin")
        assert (shown.services["live"], shown.services["mdc"]) == ("active", "arrears")
        assert set((await show_account(store, "other")).services.values()) == {"active"}

    async def test_its_tasks_stop_and_resume_with_an_event_each(self, store: SqlStore) -> None:
        await create_account(store, "demo")
        key = add_task(store, 1, "a").key
        await set_service(store, "demo", ServiceName.LIVE, ServiceState.ARREARS, now=NOW, by="admin")
        assert read_task(store, key).state is State.SUSPENDED
        await set_service(store, "demo", ServiceName.LIVE, ServiceState.FROZEN, now=NOW, by="admin")
        await set_service(store, "demo", ServiceName.LIVE, ServiceState.ACTIVE, now=NOW, by="admin")
        assert read_task(store, key).state is State.WAITING
        assert [(event.name, event.text, event.by) for event in store.read_now(lambda tx: tx.events(key))] == [
            ("task.suspended", "the account's service live is arrears", "admin"),
            ("task.enabled", "the account's service live is active", "admin"),
        ]

    async def test_other_services_do_not_concern_pull_tasks(self, store: SqlStore) -> None:
        await create_account(store, "demo")
        key = add_task(store, 1, "a").key
        await set_service(store, "demo", ServiceName.TRTC, ServiceState.BLOCKED, now=NOW, by="admin")
        assert read_task(store, key).state is State.WAITING


class TestLimit:
    """How many tasks."""

    async def test_limit_is_changed(self, store: SqlStore) -> None:
        await create_account(store, "demo", task_limit=7)
        assert (await set_task_limit(store, "demo", 0)).task_limit == 0
        assert (await show_account(store)).task_limit == 0

    @pytest.mark.parametrize("limit", [-1, 10_000_001])
    async def test_limit_that_cannot_be_is_refused(self, store: SqlStore, limit: int) -> None:
        await create_account(store, "demo")
        with pytest.raises(InvalidField):
            await set_task_limit(store, "demo", limit)


class TestDomains:
    """Whose a domain is."""

    async def test_domain_belongs_to_one_account_whatever_the_case(self, store: SqlStore) -> None:
        await create_account(store, "a")
        await create_account(store, "b")
        added = await add_domain(store, "Play.Example.COM.", "b", area=Area.OVERSEAS)
        assert added == DomainView(domain="play.example.com", account="b", area=Area.OVERSEAS)
        with pytest.raises(Conflict, match=r"play\.example\.com"):
            await add_domain(store, "play.example.com", "a", area=Area.GLOBAL)
        assert await list_domains(store) == [added]
        assert (await list_domains(store, "a"), await list_domains(store, "b")) == ([], [added])
        assert (await show_account(store, "b")).domains == ("play.example.com",)

    async def test_only_account_needs_no_name(self, store: SqlStore) -> None:
        await create_account(store, "a")
        assert (await add_domain(store, "x.example", None, area=Area.GLOBAL)).account == "a"

    @pytest.mark.parametrize("name", ["", "a b", "rtmp://h/x", "h/x", "h:80", "-", "a" * 254])
    async def test_what_is_no_domain_is_refused(self, store: SqlStore, name: str) -> None:
        await create_account(store, "a")
        with pytest.raises(InvalidField):
            await add_domain(store, name, None, area=Area.GLOBAL)

    async def test_hubs_domains_are_the_first_accounts_unless_given_away(self, store: SqlStore) -> None:
        def owner(host: str, is_hub: bool) -> int | None:
            return store.read_now(lambda tx: domain_owner(tx, host, is_hub=is_hub))

        assert owner("hub.example", True) is None
        await create_account(store, "a")
        await create_account(store, "b")
        assert (owner("hub.example", True), owner("other.example", False)) == (1, None)
        await add_domain(store, "hub.example", "b", area=Area.GLOBAL)
        assert (owner("HUB.example.", True), owner("hub.example", False)) == (2, 2)


class TestUserSig:
    """Tickets for users of an application."""

    async def test_ticket_is_signed_with_the_applications_own_key(self, store: SqlStore) -> None:
        made = await create_account(store, "a", sdk_app_ids=[1400000001])
        sig = await make_usersig(store, 1400000001, "ann", at=1000, expire=60)
        expected = usersig.make(1400000001, "ann", made.sdk_apps[0].secret_key, at=1000, expire=60)
        assert (sig.user_sig, sig.expires_at) == (expected, 1060)

    async def test_application_of_nobody_is_refused(self, store: SqlStore) -> None:
        with pytest.raises(AccountNotFound, match="1400000001"):
            await make_usersig(store, 1400000001, "ann", at=1000, expire=60)

    @pytest.mark.parametrize(("user_id", "expire"), [("", 60), ("a\nb", 60), ("a" * 256, 60), ("ann", 0)])
    async def test_what_cannot_be_is_refused(self, store: SqlStore, user_id: str, expire: int) -> None:
        await create_account(store, "a", sdk_app_ids=[1])
        with pytest.raises(InvalidField):
            await make_usersig(store, 1, user_id, at=1000, expire=expire)


async def test_every_change_needs_an_account_that_is_there(store: SqlStore) -> None:
    frozen = (ServiceName.LIVE, ServiceState.FROZEN)
    for change in (
        rotate_key(store, "x"),
        enable_account(store, "x", enabled=False),
        set_service(store, "x", *frozen, now=NOW, by=""),
        set_task_limit(store, "x", 1),
        callback_key(store, "x"),
        add_domain(store, "x.example", "x", area=Area.GLOBAL),
        list_domains(store, "x"),
    ):
        with pytest.raises(AccountNotFound, match="'x'"):
            await change
