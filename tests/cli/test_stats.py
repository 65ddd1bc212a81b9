"""The statistics at a terminal."""

import json

import pytest

from ordersaga.cli_stats import sparkline
from ordersaga.orchestrator.store.migrate import migrate
from ordersaga.wire import messages as m
from tests.cli.test_cli import ordersaga
from tests.runtime.stage import opened, settle


def test_sagas_are_told_as_a_table_and_as_json(database_url: str) -> None:
    with opened(database_url) as stage:
        settle(stage, stage.begin(), [m.OrderCreationFailed(error="NO")])
        stage.begin()
    told = ordersaga("stats", DATABASE_URL=database_url).stdout
    assert "started              2" in told and "compensated          1" in told
    assert "COMPENSATED  ORDER_REJECTED" in told and "CREATE_ORDER" in told
    whole = json.loads(ordersaga("stats", "--json", "--by", "day", DATABASE_URL=database_url).stdout)
    assert whole["total"]["started"] == 2
    refused = ordersaga("stats", "--by", "minute", DATABASE_URL=database_url)
    assert refused.returncode == 2 and "hour, day" in refused.stderr


def test_a_sparkline_is_as_high_as_its_highest() -> None:
    assert sparkline([0, 1, 2, 4]) == "▁▃▅█"
    assert sparkline([0, 0]) == sparkline([]) == ""
    assert len(sparkline(list(range(100)))) == 60


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--hours", "745"), ("--hours", "at most 744 by the hour")),
        (("--saga", "create_ordr"), ("--saga", "create_ordr is none of", "create_order")),
    ],
)
def test_what_cannot_be_meant_is_a_wrong_option(
    database_url: str, arguments: tuple[str, ...], said: tuple[str, ...]
) -> None:
    migrate(database_url, "ordersaga")
    refused = ordersaga("stats", *arguments, DATABASE_URL=database_url)
    told = " ".join(refused.stderr.split())
    assert refused.returncode == 2 and all(text in told for text in said), told
    assert refused.stdout == ""
