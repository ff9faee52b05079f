"""The values of the Helm chart: which it takes, and which it does not."""

from __future__ import annotations

import re

import jsonschema_rs
import pytest

from kubernetes.render import CHART, merged, read
from support.compose import REPOSITORY
from support.kubernetes_chart import (
    NAMES,
    container_of,
    refusals,
    refused,
    schema,
    values_of,
    with_pods,
)

PLACES = {"nodeSelector", "tolerations", "affinity", "priorityClassName"}


@pytest.mark.parametrize("name", NAMES)
def test_values_are_what_the_schema_has(name: str) -> None:
    validator = jsonschema_rs.validator_for(schema())

    assert [error.message for error in validator.iter_errors(values_of(name))] == []


@pytest.mark.parametrize("why", list(refused()))
def test_bad_values_are_refused(why: str) -> None:
    by_schema = not jsonschema_rs.validator_for(schema()).is_valid(refused()[why])
    said = refusals()[why]

    assert ("specifications of the schema" in said) == by_schema
    assert by_schema or "execution error" in said, said


@pytest.mark.parametrize("name", NAMES)
def test_no_variable_can_be_given_twice(name: str) -> None:
    values = values_of(name)
    given = {*values["env"], *(key for pool in values["pools"] for key in pool.get("env", ()))}
    validator = jsonschema_rs.validator_for(
        {"$ref": "#/definitions/env", "definitions": schema()["definitions"]}
    )
    for document in with_pods(name):
        for one in container_of(document)["env"]:
            assert validator.is_valid({one["name"]: "x"}) == (one["name"] in given), one["name"]


def test_each_value_has_its_default_and_its_rule() -> None:
    values = read(CHART / "values.yaml")

    assert schema()["properties"].keys() == values.keys() | {"global"}
    for key, rule in schema()["properties"].items():
        if "properties" in rule:
            # Where pods run is nobody's default.
            assert rule["properties"].keys() - PLACES <= values[key].keys(), key


def test_each_field_of_a_pool_is_shown() -> None:
    text = (CHART / "values.yaml").read_text("utf-8")

    for field in schema()["definitions"]["pool"]["properties"].keys() - PLACES:
        assert re.search(rf"^# +(- )?{field}: ", text, re.MULTILINE), field


def test_values_are_laid_over_others_as_helm_does() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3}, "d": []}) == {
        "a": {"b": 3, "c": 2},
        "d": [],
    }


def test_the_readme_names_the_examples() -> None:
    readme = (REPOSITORY / "infra/kubernetes/README.md").read_text("utf-8")

    assert [name for name in NAMES if f"examples/{name}" not in readme] == []
