"""What the OpenAPI document says is what the server does, whatever it is asked."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from shared.domain.access import Scope
from support.api import ApiServer
from support.api_routes import ROUTES, Route, shape_of

EXAMPLES = 12
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SECONDS = 20


@pytest.fixture(scope="module")
def document(api: ApiServer) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{api.url}/openapi.json")


@pytest.fixture(scope="module")
def headers(api: ApiServer) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {api.new_key('somebody', *Scope)}"}


@pytest.mark.parametrize("route", [pytest.param(route, id=route.name) for route in ROUTES])
@pytest.mark.parametrize("has_key", [True, False])
def test_answers_are_those_that_are_documented(
    document: BaseSchema, headers: Mapping[str, str], route: Route, *, has_key: bool
) -> None:
    path = next(path for path in document if shape_of(path) == shape_of(route.path))
    operation = document[path][route.method]
    asked = st.one_of(*(operation.as_strategy(mode) for mode in GenerationMode))
    sent = headers if has_key else {}

    @settings(
        max_examples=EXAMPLES,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=asked)
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=dict(sent), checks=CHECKS, timeout=SECONDS)

    check()
