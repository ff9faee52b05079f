"""The OpenAPI document, with what FastAPI cannot see: bodies that routes read themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

COMPONENTS = "#/components/schemas/{model}"
JSON = "application/json"


def reference_to(model: type[BaseModel]) -> dict[str, str]:
    """Refer to a model, which must be among those that `complete` is given."""
    return {"$ref": COMPONENTS.format(model=model.__name__)}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Document a JSON body that the route itself reads."""
    content = {JSON: {"schema": reference_to(model)}}
    return {"requestBody": {"required": True, "content": content}}


def query_parameters(model: type[BaseModel], *, without: str) -> list[dict[str, Any]]:
    """Document the fields of a model, but for one, as parameters of a query."""
    properties = model.model_json_schema(ref_template=COMPONENTS)["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in properties.items()
        if name != without
    ]


def complete(app: FastAPI, referred: Sequence[type[BaseModel]]) -> None:
    """Put models that are referred to by name among the document's components."""
    write = app.openapi

    def openapi() -> dict[str, Any]:
        document = write()
        modes = [(model, "validation") for model in referred]
        _, definitions = models_json_schema(modes, ref_template=COMPONENTS)  # type: ignore[arg-type]  # the mode is a literal
        components = document.setdefault("components", {}).setdefault("schemas", {})
        for name, schema in definitions["$defs"].items():
            components.setdefault(name, schema)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation has it
