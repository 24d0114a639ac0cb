"""What an earlier version wrote is there after the upgrade, and works."""

from pathlib import Path

import msgspec
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from penstock.errors import StoreError
from penstock.store import migrations
from penstock.store.secrets import Sealer
from penstock.tasks.families import pull
from penstock.tasks.model import AccessKey, Account, Area, Desired, Domain, Edge, SdkApp, State
from tests.unit.making import DAY, NOW, claim, make_spec, read_task
from tests.unit.place import Place

KEY = bytes(range(32))
EDGE = Edge(name="e1", area=Area.DOMESTIC, rtmp="10.0.0.1:1935", query="token=1")

#: An account with a key and an application, and two tasks with their last status and history, as 0001 has them.
DATA_OF_0001 = """
INSERT INTO key_check VALUES (1, :check);
INSERT INTO sequence (name, value) VALUES ('account', 1), ('task.pull', 10002);
INSERT INTO account (id, name, app_id, task_limit) VALUES (1, 'demo', 1300000001, 7);
INSERT INTO access_key (secret_id, account_id, secret_key, enabled) VALUES ('AKIDold', 1, :key, true);
INSERT INTO sdk_app (sdk_app_id, account_id, secret_key) VALUES (1400000001, 1, :app);
INSERT INTO task (account_id, family, id, spec, desired, state, state_at, revision, start_at, end_at, region,
                  created_at, created_by, updated_at, updated_by, owner, epoch)
          VALUES (1, 'pull', '10001', :first, 'enable', 'waiting', :now, 3, :now, :end, 'ap-tokyo',
                  :now, 'ann', :now, 'bob', NULL, 4);
INSERT INTO task (account_id, family, id, spec, desired, state, state_at, revision, start_at, end_at, region,
                  created_at, created_by, updated_at, updated_by, owner, epoch)
          VALUES (1, 'pull', '10002', :second, 'pause', 'paused', :now, 1, :now, :end, 'ap-tokyo',
                  :now, 'ann', :now, 'ann', NULL, 0);
INSERT INTO checkpoint (task_key, epoch, at, observed) VALUES (1, 3, :now, :observed);
INSERT INTO event (task_key, at, name, text, by) VALUES (1, :now, 'task.created', 'created', 'ann');
"""
#: What 0002 can hold besides.
DATA_OF_0002 = """
INSERT INTO callback_key (account_id, secret_key) VALUES (1, :callback);
INSERT INTO domain (name, account_id, area) VALUES ('push.example.com', 1, 'global');
"""
#: What 0003 can hold besides.
DATA_OF_0003 = """
INSERT INTO push_key (account_id, secret_key) VALUES (1, :push);
"""
#: What 0005 can hold besides; 0004 adds a column that says nothing of older tasks.
DATA_OF_0005 = """
INSERT INTO edge (name, sealed) VALUES ('e1', :edge);
"""
DATA = {"0001": DATA_OF_0001, "0002": DATA_OF_0002, "0003": DATA_OF_0003, "0004": "", "0005": DATA_OF_0005}


def migrate_to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@pytest.fixture
def old(place: Place) -> Place:
    """A DATA as the version with schema 0001 left it."""
    return lay(place, "0001")


def lay(place: Place, newest: str) -> Place:
    """A DATA as the version with this schema left it, upgraded from the ones before."""
    sealer = Sealer(KEY)
    (place.data / "secret.key").write_text(KEY.hex())
    values = {
        "check": sealer.seal(b"penstock", "key_check"),
        "key": sealer.seal(b"s3cret", "access_key.secret_key:AKIDold"),
        "app": sealer.seal(b"app-s3cret", "sdk_app.secret_key:1400000001"),
        "first": sealer.seal(pull.encode(make_spec()), "task.spec:1:pull:10001"),
        "second": sealer.seal(pull.encode(make_spec(comment="second")), "task.spec:1:pull:10002"),
        "observed": b'{"key":1,"epoch":3,"state":"active","at":5,"started_at":1,"since":2}',
        "callback": sealer.seal(b"callback-s3cret", "callback_key.secret_key:1"),
        "edge": sealer.seal(msgspec.json.encode(EDGE), "edge.sealed:e1"),
        "push": sealer.seal(b"push-s3cret", "push_key.secret_key:1"),
        "now": NOW,
        "end": NOW + DAY,
    }
    store = place.unopened(sealer)
    with store._writing.begin() as connection:
        for revision in filter(lambda revision: revision <= newest, DATA):
            migrate_to(connection, revision)
            for statement in filter(str.strip, DATA[revision].split(";")):
                connection.execute(text(statement), values)
    store.close()
    return place


def test_data_of_every_earlier_schema_are_here() -> None:
    """Whoever adds a migration adds what the version before it has written."""
    assert migrations.revisions()[:-1] == list(DATA)


def test_older_database_needs_its_upgrade(old: Place) -> None:
    with pytest.raises(StoreError, match="schema 0001, and 0006 is needed"):
        old.open(migrate=False)


def test_everything_of_0001_is_there_after_the_upgrade(old: Place) -> None:
    store = old.open()
    account = store.read_now(lambda tx: tx.account_named("demo"))
    assert account == Account(id=1, name="demo", app_id=1300000001, task_limit=7, suspended={})
    key = store.read_now(lambda tx: tx.key("AKIDold"))
    assert key == AccessKey(secret_id="AKIDold", secret_key="s3cret", account_id=1, enabled=True)
    app = store.read_now(lambda tx: tx.sdk_app(1400000001))
    assert app == SdkApp(sdk_app_id=1400000001, secret_key="app-s3cret", account_id=1)
    first, second = read_task(store, 1), read_task(store, 2)
    assert (first.id, first.state, first.revision, first.epoch) == ("10001", State.WAITING, 3, 4)
    assert (first.created_by, first.updated_by, first.end_at) == ("ann", "bob", NOW + DAY)
    assert pull.decode(first.spec) == make_spec()
    assert (second.desired, second.state) == (Desired.PAUSE, State.PAUSED)
    assert pull.decode(second.spec).comment == "second"
    assert first.observed is not None
    assert first.observed.epoch == 3
    assert [event.text for event in store.read_now(lambda tx: tx.events(1))] == ["created"]
    assert store.read_now(lambda tx: tx.callback_key(1)) is None
    assert store.read_now(lambda tx: tx.domains()) == []
    store.close()


def test_everything_of_0002_is_there_after_the_upgrade(place: Place) -> None:
    store = lay(place, "0002").open()
    assert store.read_now(lambda tx: tx.callback_key(1)) == "callback-s3cret"
    assert store.read_now(lambda tx: tx.domains()) == [Domain(name="push.example.com", account_id=1, area=Area.GLOBAL)]
    assert store.read_now(lambda tx: tx.push_keys()) == {}
    store.write_now(lambda tx: tx.set_push_key(1, "new"))
    assert store.read_now(lambda tx: tx.push_keys()) == {1: "new"}
    store.close()


def test_everything_of_0003_is_there_after_the_upgrade(place: Place) -> None:
    store = lay(place, "0003").open()
    assert store.read_now(lambda tx: tx.push_keys()) == {1: "push-s3cret"}
    assert [read_task(store, key).domain for key in (1, 2)] == ["", ""]
    assert store.read_now(lambda tx: tx.tasks_of_domain(1, "pull", "", since=0, until=2 * NOW)) == []
    store.close()


def test_edges_have_their_place_after_the_upgrade(place: Place) -> None:
    store = lay(place, "0004").open()
    assert store.read_now(lambda tx: tx.edges()) == []
    store.write_now(lambda tx: tx.add_edge(EDGE))
    assert store.read_now(lambda tx: tx.edges()) == [EDGE]
    store.close()


def test_everything_of_0005_is_there_after_the_upgrade(place: Place) -> None:
    store = lay(place, "0005").open()
    assert store.read_now(lambda tx: tx.edges()) == [EDGE]
    assert [task.affinity for task in store.read_now(lambda tx: tx.tasks(None, None))] == ["", ""]
    assert [task.id for task in claim(store, "w-1")] == ["10001"]
    store.close()


def test_upgraded_database_goes_on_as_if_it_were_new(old: Place) -> None:
    store = old.open()
    assert store.write_now(lambda tx: tx.next_task_number("pull", 10001)) == 10003
    assert store.write_now(lambda tx: tx.add_account("second", task_limit=1)).id == 2
    assert store.write_now(lambda tx: tx.suspend(1, "pull", at=NOW, by="", text="")) == 1
    assert [task.id for task in store.write_now(lambda tx: tx.sweep(NOW + DAY, dead=()))] == ["10001", "10002"]
    store.close()
    old.open(migrate=False).close()


def test_upgrade_that_is_cut_off_leaves_the_older_database(old: Place) -> None:
    store = old.unopened(Sealer(KEY))
    connection = store._writing.connect()
    connection.begin()
    migrations.upgrade(connection)
    connection.close()
    store.close()
    test_older_database_needs_its_upgrade(old)
    old.open().close()
