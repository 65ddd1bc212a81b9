"""Schemathesis against the OpenAPI document: whatever is sent, the answer is one that the document describes."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.conftest import Stage
from tests.api.test_edges import ROUTES

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 25
POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
WRONG_IN_MANY_WAYS = [("/orders", "post"), ("/sagas", "get"), ("/sagas/{saga_id}/cancel", "post")]


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [
        *((path, method, POSITIVE) for path, method in sorted(ROUTES)),
        *((path, method, NEGATIVE) for path, method in WRONG_IN_MANY_WAYS),
    ],
)
def test_whatever_is_sent_the_answer_is_one_that_is_described(
    stage: Stage, path: str, method: str, mode: schemathesis.GenerationMode
) -> None:
    schema: Any = schemathesis.openapi.from_dict(stage.client.get("/schema").json())
    asked = []

    @settings(max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck))
    @given(case=schema[path][method.upper()].as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        request = case.as_transport_kwargs(base_url=str(stage.client.base_url))
        request.pop("cookies", None)
        if isinstance(request.get("data"), bytes | str):
            request["content"] = request.pop("data")
        answer = stage.client.request(**request)
        asked.append(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    ask()
    assert asked
