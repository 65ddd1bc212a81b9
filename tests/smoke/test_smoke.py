"""`ordersaga smoke` finds nothing where nothing is wrong, and leaves nothing open; with each thing wrong in turn it
names that, says what to look at, and places no order that would harm.
"""

import json
import re
import socket
from collections.abc import Sequence
from itertools import count
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from ordersaga import bootstrap, bootstrap_commands
from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import BusUnavailable, GroupMember
from ordersaga.cli import app
from ordersaga.local.ports import free_ports
from ordersaga.orchestrator.store.migrate import migrate, migrations
from ordersaga.smoke.check import Result
from ordersaga.smoke.order import GIVEN_BACK
from ordersaga.smoke.run import closed
from ordersaga.tokens import Role, new_token
from ordersaga.wire.topics import Participant
from tests.cli.test_cli import ordersaga
from tests.smoke.platform import ALL_TOPICS, Platform, names, platform, sagas, wrong
from tests.waiting import until

ORDER_CHECKS = ["order placed", "order completed", "order cancelled", "payment voided", "payment service"]


def test_where_nothing_is_wrong_everything_passes_and_nothing_stays_open(healthy: Platform) -> None:
    found = healthy.tried()
    assert names(found, Result.FAILED) == names(found, Result.NOT_TRIED) == []
    assert [what for what in found if what in ORDER_CHECKS] == ORDER_CHECKS
    assert {"database", "topics", "copies", "worker", "api", "token", "statistics", "folding"} <= found.keys()
    assert any(status in found["payment service"].said for status in GIVEN_BACK)
    assert "CANCELLED; nothing of it is open" in found["left behind"].said
    assert "of the customer smoke-test" in found["left behind"].said
    assert sagas(healthy) == ["CANCELLED"]


def test_who_only_wants_to_look_places_no_order(healthy: Platform) -> None:
    before = sagas(healthy)
    found = healthy.tried(orders=False)
    assert found["order"].result is Result.NOT_TRIED and sagas(healthy) == before


def test_a_customer_who_cannot_pay_is_told_apart_from_a_service_that_does_not_work(healthy: Platform) -> None:
    found = healthy.tried(smoke_customer_id="declined-dora")
    assert names(found, Result.FAILED) == ["order completed"]
    assert "PAYMENT_DECLINED" in found["order completed"].said
    assert "ORDERSAGA_SMOKE_CUSTOMER_ID" in found["order completed"].look
    assert "COMPENSATED" in found["left behind"].said


def test_an_interrupted_run_takes_its_order_back(healthy: Platform) -> None:
    running = bootstrap_commands.smoke(healthy.settings, healthy.bus, orders=True)
    checks = running.checks()
    while next(checks).what != "order placed":
        continue
    checks.close()
    until(lambda: set(sagas(healthy)) <= {"CANCELLED", "COMPENSATED"}, "it is cancelled")
    running.doctor.store.close()


def test_a_database_that_is_away_or_refuses_the_password_is_named(healthy: Platform) -> None:
    (port,) = free_ports(1)
    away = f"postgresql://nobody:wrong@127.0.0.1:{port}/nothing"
    for url, why in ((away, "Connection refused"), (_unknown_user(healthy), "does not exist")):
        found = healthy.tried(database_url=SecretStr(url))
        assert names(found, Result.FAILED) == ["database"]
        assert why in found["database"].said and "DATABASE_URL" in found["database"].look
        assert found["order"].result is Result.NOT_TRIED and "database" in found["order"].said


def _unknown_user(at: Platform) -> str:
    url = at.settings.database_url.get_secret_value()  # type: ignore[union-attr]
    return f"postgresql://nobody:wrong@{url.rpartition('@')[2]}"


def test_a_schema_that_is_behind_is_named(database_url: str) -> None:
    migrate(database_url, "ordersaga", known=migrations()[:-1])
    with platform(database_url, run=bootstrap.Run(migrate=False)) as at:
        found = at.tried(patience_seconds=1)
        assert "schema" in wrong(found) and "ordersaga migrate" in found["schema"].look
        assert found["order"].result is Result.NOT_TRIED


def test_a_topic_that_is_missing_is_named(database_url: str) -> None:
    topics = [name for name in ALL_TOPICS if name != "payment_commands"]
    migrate(database_url, "ordersaga")  # before, since what never gets ready cannot be waited for
    run = bootstrap.Run(create_topics=False)
    with platform(database_url, run=run, participants=[Participant.ORDER], topics=topics) as at:
        found = at.tried(patience_seconds=1)
        assert "topics" in wrong(found)
        assert found["topics"].said == "payment_commands missing"
        assert "ordersaga topics apply" in found["topics"].look
        assert found["order"].result is Result.NOT_TRIED


def test_brokers_that_answer_nothing_are_named(healthy: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise BusUnavailable("nobody listens")

    monkeypatch.setattr(healthy.bus, "check", away)
    found = healthy.tried()
    assert "kafka" in wrong(found) and "KAFKA_BOOTSTRAP_SERVERS" in found["kafka"].look
    assert found["order"].result is Result.NOT_TRIED


def test_a_group_without_a_living_member_is_named(database_url: str) -> None:
    with platform(database_url, run=bootstrap.Run(only=("api", "deadlines"))) as at:
        found = at.tried(patience_seconds=1)
        assert names(found, Result.FAILED) == ["worker"]
        assert "ordersaga serve" in found["worker"].look
        assert found["order"].result is Result.NOT_TRIED and sagas(at) == []


def test_who_has_just_been_started_is_waited_for(healthy: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service is ready as soon as it can work; the group lets a member in after some seconds."""
    members, asked = healthy.bus.members, count()

    def late(group: str) -> Sequence[GroupMember]:
        number = next(asked)
        if number == 1:
            raise BusUnavailable("the coordinator moves")
        return members(group) if number > 2 else ()

    monkeypatch.setattr(healthy.bus, "members", late)
    assert healthy.tried()["worker"].result is Result.PASSED and next(asked) > 3


@pytest.mark.parametrize("silent", [Participant.ORDER, Participant.USER, Participant.PAYMENT])
def test_a_service_that_is_silent_is_named_and_the_order_is_cancelled(database_url: str, silent: Participant) -> None:
    others = [one for one in Participant if one is not silent]
    with platform(database_url, participants=others, step_timeout_seconds=0.3, undo_timeout_seconds=0.3) as at:
        found = at.tried(patience_seconds=1)
        assert "order completed" in wrong(found)
        assert f"the {silent.value} service" in found["order completed"].look
        assert f"{silent.value}_commands" in found["order completed"].look
        if silent is Participant.USER:
            assert "CANCELLED" in found["left behind"].said or "COMPENSATED" in found["left behind"].said
        else:
            # What may have happened there is taken back as soon as it answers; until then it is said to be open.
            assert found["left behind"].result is Result.FAILED


def test_orders_that_are_stopped_are_named_with_who_stopped_them(database_url: str) -> None:
    with platform(database_url) as at:
        stopped = ordersaga("orders", "stop", "--who", "night", "--why", "a fire", DATABASE_URL=database_url)
        assert stopped.returncode == 0, stopped.stderr
        found = at.tried()
        assert names(found, Result.FAILED) == ["new orders"]
        assert "night: a fire" in found["new orders"].said and "orders resume" in found["new orders"].look
        assert found["order"].result is Result.NOT_TRIED


def test_an_api_that_is_away_is_named(healthy: Platform) -> None:
    (port,) = free_ports(1)
    found = healthy.tried(smoke_api_url=f"http://127.0.0.1:{port}")
    assert names(found, Result.FAILED) == ["api"]
    assert "nobody listens there" in found["api"].said and "ORDERSAGA_SMOKE_API_URL" in found["api"].look
    assert found["order"].result is Result.NOT_TRIED


def test_another_service_at_the_apis_address_is_named(healthy: Platform) -> None:
    found = healthy.tried(smoke_api_url=healthy.settings.smoke_payment_url)
    assert "api" in wrong(found) and "not as ordersaga does" in found["api"].said


def test_a_token_that_is_lacking_unknown_or_of_the_wrong_role_is_named(database_url: str) -> None:
    made = {role: new_token(role.value, role) for role in (Role.CUSTOMER, Role.VIEWER)}
    with platform(database_url, auth_tokens=",".join(line for _, line in made.values())) as at:
        for given, said in ((None, "401"), (SecretStr("a-guess"), "401"), (SecretStr(made[Role.VIEWER][0]), "403")):
            found = at.tried(smoke_token=given)
            assert names(found, Result.FAILED) == ["token"] and said in found["token"].said
            assert "ordersaga token smoke --role customer" in found["token"].look
        assert sagas(at) == []
        found = at.tried(smoke_token=SecretStr(made[Role.CUSTOMER][0]))
        assert names(found, Result.FAILED) == []


def test_an_api_that_only_looks_is_named(database_url: str) -> None:
    with platform(database_url) as other:
        with platform(database_url, run=bootstrap.LOOKING) as looking:
            found = other.tried(smoke_api_url=f"http://127.0.0.1:{looking.settings.http_port}")
        assert "token" in wrong(found) and "--read-only" in found["token"].look
        assert sagas(other) == []


def test_statistics_that_nobody_folds_are_named(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ordersaga.smoke.run.FOLDED_SECONDS", 0.5)
    with platform(database_url, run=bootstrap.Run(only=("api", "worker"))) as at:
        found = at.tried()
        assert names(found, Result.FAILED) == ["folding"]
        assert found["statistics"].result is Result.PASSED
        assert "`deadlines`" in found["folding"].look


def test_bare_services_are_done_no_harm(database_url: str) -> None:
    """They are asked for one thing each, and given back what they gave."""
    bare: dict[str, Any] = {f"participant_{one.value}": "bare" for one in Participant}
    with platform(database_url, **bare) as at:
        found = at.tried()
        assert names(found, Result.FAILED) == []
        with psycopg.connect(database_url) as connection:
            held = connection.execute("SELECT count(*) FROM participant_payment.rows").fetchone()
        assert held == (1,) and sagas(at) == ["CANCELLED"]


def test_at_a_terminal_each_check_is_a_line_and_as_json_all_are_one(
    healthy: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ordersaga.connecting.kafka_bus", lambda settings: Open(healthy.bus))
    url = healthy.settings.database_url.get_secret_value()  # type: ignore[union-attr]
    given = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{healthy.settings.http_port}"}
    given["ORDERSAGA_SMOKE_API_URL"] = f"http://127.0.0.1:{healthy.settings.http_port}"
    told = CliRunner().invoke(app, ["smoke", "--timeout", "10"], env=given)
    assert told.exit_code == 0, told.output
    lines = told.stdout.splitlines()
    assert any(line.startswith("passed     order completed  COMPLETED after") for line in lines)
    assert any(line.startswith("not tried  payment service") for line in lines)
    assert re.fullmatch(r"\d+ passed; 1 not tried", lines[-1])
    (port,) = free_ports(1)
    told = CliRunner().invoke(app, ["smoke", "--json", "--api-url", f"http://127.0.0.1:{port}"], env=given)
    view = json.loads(told.stdout)
    assert told.exit_code == 1 and view["ok"] is False
    assert {one["what"] for one in view["checks"] if one["result"] == "failed"} == {"api"}
    assert CliRunner().invoke(app, ["smoke", "--api-url", "nowhere"], env=given).exit_code == 2


class Open:
    """A bus that is not closed by whoever borrows it."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    def close(self, timeout_seconds: float) -> None:
        pass


def test_each_address_of_a_broker_is_tried_by_itself() -> None:
    (free,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert closed(f"127.0.0.1:{listening.getsockname()[1]}") == ""
    assert closed(f"127.0.0.1:{free}") == "Connection refused"
    assert closed("no-port") != "" and closed("127.0.0.1:none") != ""


def test_a_healthcheck_tells_by_its_exit_code(healthy: Platform) -> None:
    url = f"http://127.0.0.1:{healthy.settings.http_port}"
    assert ordersaga("healthcheck", f"{url}/readyz").returncode == 0
    (port,) = free_ports(1)
    refused = ordersaga("healthcheck", f"http://127.0.0.1:{port}/livez")
    assert refused.returncode == 1 and "nobody listens there" in refused.stderr
