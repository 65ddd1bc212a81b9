"""What is shipped beside the code fits to it: alerts, their pages in the runbook, the dashboard."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.promtool import promtool

ROOT = Path(__file__).parents[1]
PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTS, TRIED = (PROMETHEUS / name for name in ("alerts.yml", "alerts_test.yml"))


def headings(page: Path) -> set[str]:
    """As anchors."""
    found = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_every_alert_names_a_page_that_there_is() -> None:
    text = ALERTS.read_text("utf-8")
    pages = re.findall(r'runbook: "runbook\.md#([^"]+)"', text)
    assert len(pages) == text.count("- alert:") > 0
    assert set(pages) <= headings(ROOT / "docs" / "runbook.md")


def test_every_alert_is_tried_when_it_has_to_come_and_when_it_must_not() -> None:
    alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text("utf-8"))
    tried = re.findall(r"- name: (\w+ (?:comes|stays away))", TRIED.read_text("utf-8"))
    assert set(tried) == {f"{alert} {does}" for alert in alerts for does in ("comes", "stays away")}


def test_the_dashboard_is_the_one_that_its_source_makes() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "dashboard.py"], capture_output=True, text=True, check=True, timeout=60
    )
    assert (ROOT / "deploy" / "grafana" / "ordersaga.json").read_text("utf-8") == made.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", [("check", "rules", ALERTS), ("test", "rules", TRIED)], ids=["check", "test"])
def test_prometheus_takes_the_alerts_and_they_come_when_they_should(command: tuple[str, str, Path]) -> None:
    found = subprocess.run([promtool(), *command], capture_output=True, text=True, check=False, timeout=120)
    assert found.returncode == 0, found.stdout + found.stderr
