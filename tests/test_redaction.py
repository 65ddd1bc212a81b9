"""Secrets are taken out of whatever people are told, and of nothing else."""

from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from pydantic import SecretStr

from ordersaga import bootstrap, bootstrap_participants
from ordersaga.bus.memory import MemoryBus
from ordersaga.delivery.background import Health
from ordersaga.orchestrator.store.protocol import StoreUnavailable
from ordersaga.redaction import HIDDEN, Redaction, secrets_of
from ordersaga.settings import Settings
from tests.waiting import until
from tests.whole import settings_for

SECRET = "hush-7f3a-hush"
"""Without the mark of the canaries: without settings the log may say it here."""
AWAY = f"postgresql://saga:{SECRET}@127.0.0.1:1/saga"


@pytest.mark.parametrize("secret", ["saga", "12", "o'n", "-x-"])
def test_a_short_secret_counts_where_it_is_a_word_of_its_own(secret: str) -> None:
    hide = Redaction([secret]).text
    for said in (secret, f"user {secret}", f"{secret}@db", f"password={secret};", f"it is '{secret}'.", f"({secret})"):
        assert hide(said) == said.replace(secret, HIDDEN)


def test_a_short_secret_is_no_part_of_a_longer_word_or_of_a_name_with_dots() -> None:
    hide = Redaction(["saga"]).text
    for said in ("saga_id", "ordersagas", "saga.failed", "db.saga", "ordersaga.web.server"):
        assert hide(said) == said


def test_a_long_secret_counts_wherever_it_stands() -> None:
    assert Redaction(["a-long-password"]).text("xa-long-password1") == f"x{HIDDEN}1"


def test_the_longest_goes_first() -> None:
    assert Redaction(["pw", "postgresql://saga:pw@db/saga"]).text("to postgresql://saga:pw@db/saga") == f"to {HIDDEN}"


def test_fields_keep_their_names_and_numbers_stay_what_they_are() -> None:
    hide = Redaction(["saga", "12"]).value
    told: dict[str, Any] = {"saga": "saga", "12": [12, 1.5, True, None, ("12", b"x")]}
    assert hide(told) == {"saga": HIDDEN, "12": [12, 1.5, True, None, [HIDDEN, "b'x'"]]}


def test_what_is_secret_is_known_in_every_form_in_which_it_is_told() -> None:
    url = "postgresql://saga:p%40%22ss@db/saga"
    found = secrets_of(Settings(database_url=SecretStr(url), reconcile_database_url=SecretStr("password=other")))
    assert {url, 'p@"ss', 'p@\\"ss', "p%40%22ss", "other", "password=other"} <= found


@pytest.fixture
def bus() -> Iterator[MemoryBus]:
    bus = MemoryBus()
    yield bus
    bus.close(1)


def quoting(*_: object, **__: object) -> NoReturn:
    raise StoreUnavailable(f'it cannot be read: "{SECRET}"')


def test_health_of_the_orchestrator_holds_no_secret(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ordersaga.orchestrator.store.migrate.migrate", quoting)
    app = bootstrap.orchestrator(settings_for(AWAY), bus)
    app.start()

    def told() -> str:
        return " ".join(part.detail for part in app.health().parts)

    try:
        until(lambda: HIDDEN in told(), "it says why it waits")
        assert SECRET not in told()
    finally:
        app.stop(5)


def test_health_of_the_participants_holds_no_secret(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    app = bootstrap_participants.participants(settings_for(AWAY), bus, names=["order"])
    said = Health(name="preparation", healthy=False, detail=f'cannot be read: "{SECRET}"')
    monkeypatch.setattr("ordersaga.preparing.Prepared.health", lambda _: said)
    assert [one.detail for one in app.health()] == [f'cannot be read: "{HIDDEN}"']
    app.stop(5)
