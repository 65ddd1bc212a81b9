from ordersaga.orchestrator.api.app import AppSettings, create_app
from tests.api.conftest import Stage
from tests.api.route_table import page
from tests.house_rules import ROOT


def test_the_page_of_all_routes_is_the_one_that_the_application_serves(stage: Stage) -> None:
    drawn = page(create_app(stage.api, AppSettings()))
    assert (ROOT / "docs/routes.md").read_text("utf-8") == drawn, "run `make routes`"
