# SPDX-License-Identifier: MIT
"""The store: one transaction function, migrations that give the schema, a bounded ring of events."""

import asyncio

import pytest
import sqlalchemy as sa

from trueboot_server.fleet import registry
from trueboot_server.names import Identity
from trueboot_server.store import Store, schema
from trueboot_server.store.kept import Memory


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "db", keep_events=100)
    yield made
    made.close()


def test_the_migrations_give_exactly_the_tables_that_the_code_knows(store):
    with store.transaction() as t:
        found = sa.inspect(t._connection)
        tables = {name: found.get_columns(name) for name in found.get_table_names() if not name.startswith("sqlite_")}
        assert set(tables) == set(schema.metadata.tables)
        for name, columns in tables.items():
            known = schema.metadata.tables[name]
            assert [c["name"] for c in columns] == [c.name for c in known.columns]
            for column in columns:
                wanted = known.columns[column["name"]]
                assert str(column["type"]) == str(wanted.type.compile(store._engine.dialect)), (name, column["name"])
                # SQLite reports its row id as nullable, which it is not.
                assert column["nullable"] == wanted.nullable or wanted.primary_key, (name, column["name"])
            assert found.get_pk_constraint(name)["constrained_columns"] == [c.name for c in known.primary_key]


def test_commits_are_durable_and_foreign_keys_are_kept(store):
    with store.transaction() as t:
        pragma = {
            name: t.execute(sa.text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    with pytest.raises(sa.exc.IntegrityError), store.transaction() as t:
        t.execute(schema.points.insert().values(product_key="x", device_key="y", point="p", value=1, time=0))


def test_what_raises_is_rolled_back_and_not_told(tmp_path):
    lines = []
    store = Store(tmp_path / "db", log=lambda event, **fields: lines.append((event, fields)))
    with pytest.raises(KeyError), store.transaction() as t:
        t.event("never")
        raise KeyError
    with store.transaction() as t:
        t.event("once", Identity("pk", "dk"), n=1)
        assert lines == []
    assert lines == [("once", {"product_key": "pk", "device_key": "dk", "n": 1})]
    assert [e["event"] for e in asyncio.run(store.events_after(0, 0, 10))[0]] == ["once"]


def test_a_transaction_inside_a_transaction_is_a_bug(store):
    with pytest.raises(RuntimeError), store.transaction(), store.transaction():
        pass
    with store.transaction():
        pass


def test_the_ring_of_events_is_bounded_and_numbers_are_never_used_again(store):
    for _ in range(500):
        with store.transaction() as t:
            t.event("e")
    events, last = asyncio.run(store.events_after(0, 0, 1000))
    assert last == events[-1]["seq"] == 500 and 100 <= len(events) < 164
    with store.transaction() as t:
        t.execute(schema.events.delete())
        t.event("e")
    assert asyncio.run(store.events_after(0, 0, 9))[0][0]["seq"] == 501


def test_a_long_poll_ends_with_the_first_event_or_with_its_time(store):
    async def poll():
        waiting = asyncio.create_task(store.events_after(0, 30, 10))
        await asyncio.sleep(0)
        with store.transaction() as t:
            t.event("came")
        events, last = await waiting
        assert [e["event"] for e in events] == ["came"] and last == 1
        assert await store.events_after(1, 0.01, 10) == ([], 1)
        assert await store.events_after(99, 0, 10) == ([], 1)

    asyncio.run(poll())
    assert store._listeners == set()


def test_a_damaged_page_is_found_at_start(tmp_path):
    from trueboot_server.errors import StartError

    store = Store(tmp_path / "db")
    with store.transaction() as t:
        for _ in range(300):
            t.event("filler", text="x" * 100)
    store.close()
    content = bytearray((tmp_path / "db").read_bytes())
    content[8192:16384] = b"\x55" * 8192
    (tmp_path / "db").write_bytes(content)
    with pytest.raises(StartError) as found:
        Store(tmp_path / "db")
    assert found.value.exit_code == 78


def test_what_nobody_was_promised_is_not_synced(store):
    """PRAGMA synchronous: 1 is NORMAL, 2 is FULL; see `Store.transaction`."""
    found = []
    for lasting in (True, False, False, True):
        with store.transaction(lasting) as t:
            found.append(t.execute(sa.text("PRAGMA synchronous")).scalar())
    assert found == [2, 1, 1, 2]


def test_what_is_kept_is_never_older_than_the_last_commit_nor_newer(store):
    def state():
        with store.transaction() as t:
            return registry.standing(t, device).state

    device = Identity("pk", "dk")
    with store.transaction() as t:
        t.execute(
            schema.products.insert().values(
                product_key="pk",
                product_secret="s",
                allow_password_login=False,
                claims_count=False,
                created_at=0,
                attestation="none",
                dialect="decada",
                auto_update="off",
                registration="DISABLED",
                pushed_tags=False,
                generated_keys=False,
                tokens="off",
            )
        )
        assert registry.standing(t, device) is None  # kept, too
        registry.register(t, device)
    assert state() == "registered"
    with pytest.raises(KeyError), store.transaction() as t:
        registry.update(t, device, state="enrolled")
        assert registry.standing(t, device).state == "enrolled"
        raise KeyError
    assert state() == "registered"
    with store.transaction() as t:
        registry.revoke(t, device)
    assert state() == "revoked"
    with store.transaction() as t:
        t.execute(sa.text("UPDATE devices SET state = 'activated'"))
    assert state() == "activated"
    with store.transaction() as t:
        t.many(
            schema.devices.update().where(schema.devices.c.device_key == sa.bindparam("k")), [{"k": "dk", "state": "x"}]
        )
    assert state() == "x"
    with store.transaction() as t:
        registry.note_seen(t, device)
        assert registry.known_device(t, device).last_seen == t.now


def test_a_transaction_that_is_answered_from_memory_asks_the_database_nothing(store):
    asked = []
    with store.transaction() as t:
        registry.product(t, "pk")
    store._raw.set_trace_callback(asked.append)
    with store.transaction() as t:
        assert registry.product(t, "pk") is None
    assert asked == []
    with store.transaction() as t:
        t.event("e")
    assert asked[0].startswith("BEGIN") and asked[-1] == "COMMIT"


def test_what_is_kept_is_bounded():
    memory = Memory(most=3)
    for number in range(5):
        memory.put(number, number)
    assert [memory.get(number) for number in range(5)] == [None, None, 2, 3, 4]
