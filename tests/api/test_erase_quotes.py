"""What older versions quoted of a service in `attention` is erased, and what they said of it themselves is not."""

import json

import psycopg
import pytest
from psycopg import sql

from tests.api.conftest import Stage
from tests.api.test_erase import CANARY, SCHEMA, archive_all, ended, erase, published, rows_with

SENTENCE = "no card for jane.doe@mail.example, Elm Street 4"
HOLD = "payment failed with {}: compare with the provider whether a hold was made"
TWICE = "AUTHORIZE_PAYMENT was done twice; pay_2 could not be taken back: {}"


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


def as_before(url: str, saga_id: str, *attention: str) -> None:
    """As it stood when it was written."""
    with psycopg.connect(url) as connection:
        tell = sql.SQL("UPDATE {} SET state = state || %s WHERE id = %s").format(sql.Identifier(SCHEMA, "sagas"))
        connection.execute(tell, (json.dumps({"attention": attention}), saga_id))


@pytest.mark.parametrize("said", [HOLD, TWICE])
def test_a_sentence_that_was_quoted_is_erased_and_a_code_is_not(postgres_stage: Stage, url: str, said: str) -> None:
    saga_id = ended(postgres_stage, CANARY)
    as_before(url, saga_id, said.format(SENTENCE), said.format("DATABASE_ERROR"))
    assert "sagas" in rows_with(url, "jane.doe")
    published(url)
    assert erase(url).returncode == 0
    assert rows_with(url, "jane.doe") == {}
    attention = postgres_stage.client.get(f"/sagas/{saga_id}").json()["attention"]
    assert attention == [said.format("erased"), said.format("DATABASE_ERROR")]


def test_a_sentence_that_was_quoted_is_erased_in_the_archive_too(postgres_stage: Stage, url: str) -> None:
    saga_id = ended(postgres_stage, CANARY)
    as_before(url, saga_id, HOLD.format(SENTENCE))
    assert archive_all(url) == 1
    published(url)
    assert erase(url).returncode == 0
    assert rows_with(url, "jane.doe") == {}
