"""Doors that are shut, one after the other: a doctor says which and what to do. Against real servers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from ordersaga.bus.kafka import KafkaBus, KafkaSecurity
from ordersaga.bus.protocol import Access, BusUnavailable, Cluster, Outgoing, Published, TopicState
from ordersaga.local.kafka import Kafka, KafkaCluster
from ordersaga.local.ports import free_port
from ordersaga.local.postgres import PostgresServer
from ordersaga.orchestrator.runtime.doctor_access import CURES, BrokerDoor, DatabaseDoor
from ordersaga.orchestrator.runtime.finding import Finding
from ordersaga.orchestrator.store.migrate import NEWEST, migrate
from ordersaga.orchestrator.store.probe import Probed, probe
from ordersaga.orchestrator.store.protocol import WriteRefused
from tests.bus.conftest import unique
from tests.bus.reading import eventually
from tests.bus.test_kafka_security import PASSWORD_SETTINGS
from tests.canaries import MARK
from tests.faults.proxy import FaultProxy
from tests.house_rules import ROOT
from tests.store.places import PostgresPlace

Sql = Callable[[str], None]
OWNED_BY_ONE = (
    "let all tables be owned by one role that is no superuser (ALTER TABLE ... OWNER TO, now: {}), and let {} be"
    " that role, or act as it"
)
IN_SCHEMA = "relnamespace = 'ordersaga'::regnamespace"
WELL = ["database", "database TLS", "writing", "rights", "schema"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Our own: roles, passwords and who may come in are changed in it."""
    with PostgresServer.start(tmp_path_factory.mktemp("door") / "postgres") as server:
        url = server.url("postgres")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE ROLE locked LOGIN PASSWORD 'right'; CREATE ROLE nobody LOGIN")
            connection.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
            row = connection.execute("SHOW hba_file").fetchone()
            assert row
            hba = Path(row[0])
            hba.write_text("host all locked 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
            connection.execute("SELECT pg_reload_conf()")
        yield server


@pytest.fixture
def url(server: PostgresServer) -> str:
    url = server.create_database()
    migrate(url, "ordersaga")
    return url


def as_user(url: str, user: str, password: str = "wrong-" + MARK, **more: str) -> str:
    parts = urlsplit(url)
    query = "&".join(f"{name}={value}" for name, value in more.items())
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}", query=query))


def door(url: str) -> dict[str, Finding]:
    found = DatabaseDoor(look=lambda: probe(url, "ordersaga"), newest_schema=NEWEST).findings()
    return {one.what: one for one in found}


def wrong(found: Mapping[str, Finding]) -> dict[str, Finding]:
    return {name: one for name, one in found.items() if not one.well}


def execute(url: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def upkeep(url: str) -> None:
    """What every process does daily."""
    place = PostgresPlace(url, connections_max=1)
    try:
        place.store().upkeep()
    finally:
        place.close()


def test_a_database_that_is_as_it_should_be(url: str) -> None:
    found = door(url)
    assert list(found) == WELL and wrong(found) == {}
    assert found["database"].said.startswith("answers: PostgreSQL 1")
    assert found["schema"].said == f"is up to date (version {NEWEST})"
    assert found["database TLS"].said == "is off: on this machine"


def test_each_way_of_not_getting_in_has_its_own_cure(url: str) -> None:
    parts = urlsplit(url)
    shut = {
        as_user(url, "locked"): "see that user and password in DATABASE_URL are right",
        as_user(url, "stranger"): "see that user and password in DATABASE_URL are right",
        urlunsplit(parts._replace(path="/nowhere")): "create the database",
        as_user(url, "crowded"): "lower ORDERSAGA_DATABASE_CONNECTIONS_MAX",
        as_user(url, "nobody", sslmode="require"): "see that sslmode and sslrootcert in DATABASE_URL",
        urlunsplit(parts._replace(netloc=f"ordersaga@127.0.0.1:{free_port()}")): "start the server",
    }
    for address, cure in shut.items():
        found = door(address)
        assert list(found) == ["database"]
        assert found["database"].cure.startswith(cure), found
        assert MARK not in found["database"].said and found["database"].said.isprintable()


def test_a_password_that_is_right_gets_in_and_rights_that_are_missing_are_named(url: str) -> None:
    found = door(as_user(url, "locked", "right"))
    assert set(wrong(found)) == {"rights", "schema"}
    missing = "ownership of the tables, CREATE on schema ordersaga, USAGE on schema ordersaga, "
    assert found["rights"].said.startswith(f"locked lacks: {missing}")
    assert found["schema"].said == "may not be looked at"
    for (table,) in execute(url, "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND " + IN_SCHEMA):
        execute(url, f"ALTER TABLE ordersaga.{table} OWNER TO locked")
    execute(url, "GRANT USAGE, CREATE ON SCHEMA ordersaga TO locked")
    assert wrong(door(as_user(url, "locked", "right"))) == {}
    execute(url, "REVOKE DELETE ON ordersaga.outbox FROM locked")
    found = door(as_user(url, "locked", "right"))
    assert found["rights"].said == "locked lacks: DELETE on ordersaga.outbox"
    assert found["rights"].cure == "GRANT these to locked, or let it own the schema"


def test_grants_are_not_enough_and_who_acts_as_the_owner_makes_the_weeks_to_come(
    server: PostgresServer,
) -> None:
    """As the cure says it: a member of the owning role, which acts as that role."""
    url = server.create_database()
    execute(url, "CREATE ROLE saga LOGIN; CREATE ROLE owning LOGIN")
    execute(url, f"GRANT CREATE ON DATABASE {urlsplit(url).path[1:]} TO owning")
    owning, serving = as_user(url, "owning"), as_user(url, "saga")
    migrate(owning, "ordersaga")
    execute(url, "GRANT USAGE, CREATE ON SCHEMA ordersaga TO saga; GRANT ALL ON ALL TABLES IN SCHEMA ordersaga TO saga")
    found = door(serving)
    assert set(wrong(found)) == {"rights"}
    assert found["rights"].said == "saga lacks: ownership of the tables"
    assert found["rights"].cure == "GRANT owning TO saga, and ALTER ROLE saga SET role = owning"
    weeks = f"SELECT relname FROM pg_class WHERE relname ~ '^saga_history_[0-9]+$' AND {IN_SCHEMA} ORDER BY 1"
    newest = execute(url, weeks)[-1][0]
    execute(owning, f"DROP TABLE ordersaga.{newest}")
    with pytest.raises(WriteRefused, match="42501 must be owner of table saga_history"):
        upkeep(serving)
    be_member, act_as = found["rights"].cure.split(", and ")
    owner = f"SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = '{newest}' AND {IN_SCHEMA}"
    execute(url, be_member)
    upkeep(serving)
    assert execute(url, owner) == [("saga",)], "which its owner could not migrate"
    execute(url, act_as)
    found = door(serving)
    assert found["rights"].said == "owning lacks: ownership of the tables"
    assert found["rights"].cure == OWNED_BY_ONE.format("saga", "owning")
    execute(url, f"DROP TABLE ordersaga.{newest}")
    assert wrong(door(serving)) == {}
    upkeep(serving)
    assert execute(url, owner) == [("owning",)]


@pytest.mark.parametrize("found", [Probed(owners=["a", "b"]), Probed(owners=["a"], is_membership_a_cure=False)])
def test_nobody_is_told_to_be_a_superuser_or_two_roles_at_once(found: Probed) -> None:
    shown = DatabaseDoor(look=lambda: replace(found, user="saga"), newest_schema=NEWEST).findings()
    (rights,) = [one for one in shown if one.what == "rights"]
    assert rights.cure == OWNED_BY_ONE.format(", ".join(found.owners), "saga")


def test_nobody_is_told_to_be_a_member_of_a_superuser(url: str) -> None:
    execute(url, "GRANT USAGE, CREATE ON SCHEMA ordersaga TO nobody")
    execute(url, "GRANT ALL ON ALL TABLES IN SCHEMA ordersaga TO nobody")
    found = door(as_user(url, "nobody"))
    assert set(wrong(found)) == {"rights"}
    assert found["rights"].cure == OWNED_BY_ONE.format("ordersaga", "nobody")


def test_a_database_that_cannot_be_written_to(url: str) -> None:
    name = urlsplit(url).path[1:]
    elsewhere = urlunsplit(urlsplit(url)._replace(path="/postgres"))
    execute(elsewhere, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    found = door(url)
    assert set(wrong(found)) == {"writing"} and "default_transaction_read_only" in found["writing"].cure
    standby = Probed(user="u", server_version=180000, is_standby=True, schema_version=NEWEST)
    found = {one.what: one for one in DatabaseDoor(look=lambda: standby, newest_schema=NEWEST).findings()}
    assert set(wrong(found)) == {"writing"} and "primary" in found["writing"].cure


@pytest.mark.parametrize(
    ("sql", "said", "is_well"),
    [
        ("DELETE FROM ordersaga.schema_migrations", "has no tables of ordersaga", False),
        ("DROP TABLE ordersaga.schema_migrations", "has no tables of ordersaga", False),
        (
            f"DELETE FROM ordersaga.schema_migrations WHERE version = {NEWEST}",
            f"is at version {NEWEST - 1}, {NEWEST} is needed",
            False,
        ),
        (
            "INSERT INTO ordersaga.schema_migrations (version, name) VALUES (99, 'of_tomorrow')",
            f"is at version 99, this software knows {NEWEST}: well while processes are changed over",
            True,
        ),
    ],
)
def test_a_schema_that_is_behind_or_ahead(url: str, sql: str, said: str, is_well: bool) -> None:
    execute(url, sql)
    found = door(url)["schema"]
    assert (found.said, found.well) == (said, is_well)
    assert is_well or "ordersaga migrate" in found.cure


# --- brokers --------------------------------------------------------------------------------------


def broker_door(cluster: Cluster, access: Access, **more: Any) -> BrokerDoor:
    settings: dict[str, Any] = {"read": ["events"], "written": ["commands"], "group": "g", "partitions": 6}
    return BrokerDoor(describe=lambda: cluster, access=lambda: access, **{"protocol": "PLAINTEXT", **settings, **more})


SIX = Cluster({name: TopicState(6, name) for name in ("events", "commands")}, creates_topics=False)


def test_brokers_that_let_us_do_all(kafka_cluster: Kafka) -> None:
    bus = KafkaBus(kafka_cluster.bootstrap_servers)
    door = broker_door(SIX, bus.access(unique("group")))
    assert [(one.what, one.well) for one in door.findings()] == [
        ("kafka TLS", True),
        ("partitions", True),
        ("kafka rights", True),
    ]
    bus.close(2)


def test_partitions_that_are_not_as_many_as_meant() -> None:
    cluster = Cluster({"events": TopicState(3, "e"), "commands": TopicState(6, "c")}, creates_topics=False)
    found = {one.what: one for one in broker_door(cluster, Access({}, None)).findings()}
    assert set(wrong(found)) == {"partitions"}
    assert found["partitions"].said == "events has 3, 6 are meant"
    assert "ORDERSAGA_KAFKA_PARTITIONS" in found["partitions"].cure and "never fewer" in found["partitions"].cure


def test_rights_that_the_brokers_do_not_give() -> None:
    access = Access({"events": {"DESCRIBE"}, "commands": {"READ"}}, {"DESCRIBE"})
    found = {one.what: one for one in broker_door(SIX, access, protocol="SASL_SSL").findings()}
    assert set(wrong(found)) == {"kafka rights"}
    missing = "READ on topic events, WRITE on topic commands, READ on group g"
    assert found["kafka rights"].said == f"we may not: {missing}"
    assert found["kafka TLS"].said == "is on"


@pytest.mark.slow
def test_what_kafka_itself_says_of_our_rights() -> None:
    from kafka.admin import ACL, ACLOperation, ACLPermissionType, KafkaAdminClient, ResourcePattern, ResourceType

    settings = PASSWORD_SETTINGS | {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with KafkaCluster.start(extra=settings) as cluster:
        ports = cluster.nodes[0].ports
        free = KafkaBus(cluster.bootstrap_servers)
        free.create_topics([])
        admin = KafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)
        admin.create_topics({name: {"num_partitions": 6, "replication_factor": 1} for name in ("events", "commands")})

        def allow(kind: ResourceType, name: str, operation: ACLOperation) -> None:
            pattern = ResourcePattern(kind, name)
            admin.create_acls([ACL("User:reader", "*", operation, ACLPermissionType.ALLOW, pattern)])

        allow(ResourceType.TOPIC, "events", ACLOperation.DESCRIBE)
        allow(ResourceType.TOPIC, "commands", ACLOperation.WRITE)
        security = KafkaSecurity(
            protocol="SASL_PLAINTEXT", mechanism="PLAIN", username="reader", password="right-c4n4ry-secret"
        )
        with FaultProxy(ports.behind_proxy, port=ports.proxy):
            ours = KafkaBus(f"127.0.0.1:{ports.proxy}", security=security)

            def said() -> str:
                return {one.what: one for one in broker_door(SIX, ours.access("g")).findings()}["kafka rights"].said

            missing = "we may not: READ on topic commands, READ on topic events, READ on group g"
            eventually(lambda: said() == missing, "what is missing is named")
            (sent,) = ours.producer(client_id="ours").publish([Outgoing("commands", b"k", b"ours")], 10.0)
            assert sent.published is Published.ACKNOWLEDGED, "WRITE is all that publishing needs"
            row = [Outgoing("commands", b"k", b"v")]
            free.producer(client_id="dead").publish(row, 10.0)
            with pytest.raises(BusUnavailable, match="TopicAuthorizationFailed"):
                ours.written_since(row, 0, 10.0)
            allow(ResourceType.TOPIC, "commands", ACLOperation.READ)
            allow(ResourceType.TOPIC, "events", ACLOperation.READ)
            allow(ResourceType.GROUP, "g", ACLOperation.READ)
            eventually(lambda: said().startswith("all that is needed"), "all is allowed")
            assert ours.written_since(row, 0, 10.0) == [True], "what a dead process left is found"
            ours.close(2)
        admin.close()
        free.close(2)


def test_the_page_shows_each_that_is_wrong(url: str) -> None:
    """What a person at a terminal sees, word for word."""
    page = (ROOT / "docs" / "doctor.md").read_text("utf-8")
    access = Access({"order_events": {"DESCRIBE"}}, {"DESCRIBE"})
    cluster = Cluster({"order_events": TopicState(3, "e")}, creates_topics=False)
    brokers = broker_door(cluster, access, read=["order_events"], written=[], group="create-order-saga-orchestrator")
    probed = [
        Probed(user="saga", server_version=180001, is_read_only=True, schema_version=11),
        Probed(user="saga", server_version=140011, is_standby=True, is_encrypted=True, schema_version=0),
        Probed(
            user="saga",
            server_version=180001,
            schema_version=None,
            missing_rights=["DELETE on ordersaga.outbox", "USAGE on schema ordersaga"],
        ),
        Probed(user="saga", server_version=180001, schema_version=14, owners=["owning"]),
    ]
    found = list(brokers.findings())
    for one in probed:
        found += DatabaseDoor(look=partial(_same, one), newest_schema=12).findings()
    assert [line for one in found for line in one.lines() if line not in page] == []
    assert [cure for cure in CURES.values() if cure not in page] == []


def _same(probed: Probed) -> Probed:
    return probed
