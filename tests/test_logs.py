"""Log lines: one event a line, whatever a stranger's text holds, and no secret in any."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import structlog

from ordersaga.logs import configure
from ordersaga.settings import Settings

NASTY = 'x"\n{"event":"forged"}\r\n\x1b[2J\x00\u2028\x85end'
PASSWORD = 'canary:7f"3a'


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def logged(log_format: Any = "json", **settings: Any) -> io.StringIO:
    out = io.StringIO()
    configure(Settings(log_format=log_format, **settings), out)
    return out


def test_a_line_is_one_json_object_however_nasty_the_text() -> None:
    out = logged()
    structlog.get_logger("ordersaga.test").info("order.refused", why=NASTY, **{NASTY: 1})
    (line,) = out.getvalue().splitlines()
    found = json.loads(line)
    assert found["event"] == "order.refused"
    assert found["why"] == NASTY
    assert (found["level"], found["logger"]) == ("info", "ordersaga.test")
    assert line.isprintable()


def test_text_for_a_terminal_is_one_line_without_control_characters() -> None:
    out = logged("text")
    structlog.get_logger("ordersaga.test").warning("order.refused", why=NASTY)
    (line,) = out.getvalue().splitlines()
    assert line.isprintable()
    assert "order.refused" in line


def test_a_library_that_logs_by_the_standard_way_is_treated_alike() -> None:
    out = logged()
    logging.getLogger("uvicorn.error").warning("odd: %s", NASTY)
    (line,) = out.getvalue().splitlines()
    assert json.loads(line)["event"] == f"odd: {NASTY}"


def test_a_traceback_stays_in_its_line_and_names_no_locals() -> None:
    out = logged()
    canary = "personal data"
    try:
        dict[int, str]()[len(canary)]
    except KeyError:
        structlog.get_logger("ordersaga.test").exception("it.failed")
    (line,) = out.getvalue().splitlines()
    assert "KeyError: 13" in json.loads(line)["exception"]
    assert canary not in line


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_secret_is_in_any_line_however_it_came_there(log_format: str) -> None:
    url = "postgresql://saga:dsn%2Dcanary@db/saga"
    out = logged(log_format, database_url=url, kafka_sasl_password=PASSWORD)
    log = structlog.get_logger("ordersaga.test")
    log.info("connecting", to=url, said=f"password {PASSWORD} is wrong", deep={"a": [PASSWORD]})
    log.info("dsn-canary and dsn%2Dcanary")
    logging.getLogger("kafka.conn").error("login with %s", PASSWORD)
    text = out.getvalue()
    assert "canary" not in text
    assert text.count("***") >= 5


@pytest.mark.parametrize("password", ["saga", "12", "info", "event"])
def test_a_password_that_is_a_word_or_a_number_spoils_no_line(password: str) -> None:
    out = logged(database_url=f"postgresql://ordersaga:{password}@db/orders")
    log = structlog.get_logger("ordersaga.saga")
    log.info(
        "saga.failed", saga_id="s-12", attempt=12, said=f"password '{password}' is wrong", deep={"saga": [password]}
    )
    logging.getLogger("psycopg").warning("connection to db failed: %s", password)
    ours, theirs = map(json.loads, out.getvalue().splitlines())
    assert (ours["event"], ours["logger"], ours["level"]) == ("saga.failed", "ordersaga.saga", "info")
    assert (ours["saga_id"], ours["attempt"]) == ("s-***" if password == "12" else "s-12", 12)
    assert ours["said"] == "password '***' is wrong" and ours["deep"] == {"saga": ["***"]}
    assert theirs["event"] == "connection to db failed: ***"
    assert datetime.fromisoformat(ours["timestamp"]).year > 2000


def test_a_level_below_the_one_that_is_set_is_not_written() -> None:
    out = logged(log_level="WARNING")
    structlog.get_logger("ordersaga.test").info("quiet")
    structlog.get_logger("ordersaga.test").warning("loud")
    assert len(out.getvalue().splitlines()) == 1


def test_kafka_never_writes_at_debug_where_it_would_write_passwords() -> None:
    out = logged(log_level="DEBUG")
    logging.getLogger("kafka.conn").debug("SASL PLAIN canary")
    assert out.getvalue() == ""


def test_what_is_bound_to_the_context_is_in_every_line() -> None:
    out = logged()
    with structlog.contextvars.bound_contextvars(saga_id="s-1"):
        structlog.get_logger("ordersaga.test").info("step.done")
    assert json.loads(out.getvalue())["saga_id"] == "s-1"
