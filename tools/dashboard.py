"""Writes the Grafana dashboard: `python tools/dashboard.py > deploy/grafana/ordersaga.json`.

A dashboard as JSON is a thousand lines that nobody reads; what is on it stands here. A test holds the file against
this.
"""

import json
import sys
from typing import Any

COLUMNS, HEIGHT = 3, 8
SOURCE = {"type": "prometheus", "uid": "${source}"}
RATE = "$__rate_interval"

PANELS: tuple[tuple[str, str, dict[str, str], str], ...] = (
    (
        "Sagas a second",
        "ops",
        {
            "begun": f"sum(rate(saga_started_total[{RATE}]))",
            "{{outcome}}": f"sum by (outcome) (rate(saga_finished_total[{RATE}]))",
        },
        "What is begun and what comes of it.",
    ),
    (
        "Why orders did not complete",
        "ops",
        {"{{reason}}": f'sum by (reason) (rate(saga_finished_total{{outcome!="COMPLETED"}}[{RATE}]))'},
        "By reason.",
    ),
    (
        "From the order to its outcome",
        "s",
        {
            f"{share} {{{{outcome}}}}": (
                f"histogram_quantile({share}, sum by (le, outcome) (rate(saga_duration_seconds_bucket[{RATE}])))"
            )
            for share in (0.5, 0.99)
        },
        "Median, and what 99 % stay below.",
    ),
    (
        "A person is needed",
        "short",
        {
            "FAILED": "max(saga_stuck)",
            "attention": "max(saga_attention)",
            "dead letters": "max(dead_letters_open)",
            "orphans": "max(orphans_open)",
            "failing deadlines": "max(deadlines_failing)",
            "without the database": "sum(1 - database_up)",
        },
        "All of it is to be zero. The last are processes: where none reads the database, nothing else is known.",
    ),
    (
        "Under way",
        "short",
        {"{{status}} {{step}}": "max by (status, step) (saga_active)"},
        "Sagas without an outcome, by status and step.",
    ),
    (
        "The oldest",
        "s",
        {
            "under way": "max(saga_oldest_active_age_seconds)",
            "FAILED": "max(saga_oldest_stuck_age_seconds)",
        },
        "Banks let go of a hold after about seven days.",
    ),
    (
        "Steps, 99 % below",
        "s",
        {
            "{{step}} {{direction}}": (
                "histogram_quantile(0.99, sum by (le, step, direction)"
                f" (rate(saga_step_duration_seconds_bucket[{RATE}])))"
            )
        },
        "From the first command to what came of it.",
    ),
    (
        "Commands sent again",
        "ops",
        {"{{step}} {{direction}}": f"sum by (step, direction) (rate(saga_step_retries_total[{RATE}]))"},
        "Silence of a service shows here first.",
    ),
    (
        "Events that changed nothing",
        "ops",
        {
            "late: {{step}} {{why}}": f"sum by (step, why) (rate(saga_late_events_total[{RATE}]))",
            "{{kind}}: {{why}}": f"sum by (kind, why) (rate(saga_ignored_events_total[{RATE}]))",
        },
        "Late, repeated, stray and foreign ones.",
    ),
    (
        "Answers not read yet",
        "short",
        {"{{topic}}": "sum by (topic) (max by (topic, partition) (kafka_consumer_lag))"},
        "The consumer group's lag.",
    ),
    (
        "Messages not published yet",
        "short",
        {"messages": "max(outbox_pending)", "seconds of the oldest": "max(outbox_oldest_age_seconds)"},
        "The outbox.",
    ),
    (
        "Deadlines",
        "short",
        {"due": "max(deadlines_due)", "seconds late": "max(deadlines_lag_seconds)"},
        "Those that have passed and wait.",
    ),
    (
        "Orders turned away",
        "ops",
        {
            "{{why}}": f"sum by (why) (rate(orders_refused_total[{RATE}]))",
            "processes that take none": "sum(orders_taken == bool 0)",
        },
        "By what was answered.",
    ),
    (
        "Messages a second",
        "ops",
        {
            "read": f"sum(rate(messaging_client_consumed_messages_total[{RATE}]))",
            "sent {{error_type}}": f"sum by (error_type) (rate(messaging_client_sent_messages_total[{RATE}]))",
        },
        "Sent: those that were acknowledged have no error.",
    ),
    (
        "Batches, 99 % below",
        "s",
        {
            "handled": (
                f"histogram_quantile(0.99, sum by (le) (rate(messaging_process_duration_seconds_bucket[{RATE}])))"
            )
        },
        "From the bus to the COMMIT of what came of it.",
    ),
)


def dashboard() -> dict[str, Any]:
    return {
        "uid": "ordersaga",
        "title": "Order sagas",
        "tags": ["ordersaga"],
        "timezone": "utc",
        "refresh": "30s",
        "schemaVersion": 39,
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Source"}]},
        "panels": [_panel(number, *panel) for number, panel in enumerate(PANELS)],
    }


def _panel(number: int, title: str, unit: str, queries: dict[str, str], description: str) -> dict[str, Any]:
    width = 24 // COLUMNS
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": {"x": number % COLUMNS * width, "y": number // COLUMNS * HEIGHT, "w": width, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(queries.items())
        ],
    }


if __name__ == "__main__":
    json.dump(dashboard(), sys.stdout, indent=1)
    sys.stdout.write("\n")
