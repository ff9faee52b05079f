"""Every route of the dashboard, as its application has them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import get_type_hints
from uuid import uuid4

from fastapi.routing import APIRoute

from producer.dashboard.app import ROUTERS


@dataclass(frozen=True, slots=True)
class PageRoute:
    """A method and a path, but for what stands in braces in it."""

    method: str
    path: str

    @property
    def is_about_something(self) -> bool:
        """Whether its path names something that belongs to a tenant."""
        return "{" in self.path

    def about(self, things: Mapping[str, str]) -> str:
        """Fill in some things: values for the braces."""
        return self.path.format_map(things)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def page_routes(method: str) -> Sequence[PageRoute]:
    """Return all routes of a method; where a path holds a choice, each choice is one."""
    return [
        PageRoute(method, path)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and method in (route.methods or ())
        for path in _choices(route)
    ]


def _choices(route: APIRoute) -> Iterator[str]:
    paths = [route.path]
    hints = get_type_hints(route.endpoint)
    for name in inspect.signature(route.endpoint).parameters:
        kind = hints.get(name)
        if f"{{{name}}}" in route.path and isinstance(kind, type) and issubclass(kind, Enum):
            paths = [path.replace(f"{{{name}}}", one.value) for path in paths for one in kind]
    yield from paths


def nothing() -> Mapping[str, str]:
    """Name things that are not there."""
    ids = {f"{kind}_id": str(uuid4()) for kind in ("batch", "job", "worker")}
    return {**ids, "position": "0"}
