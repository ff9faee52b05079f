"""Every route of the API, what a key needs for it, and a request that would succeed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from shared.domain.access import Scope

PROMPTS = {"prompts": ["a red apple", "a green pear"]}
JSONL = b'{"prompt": "a red apple"}\n'
REQUEST_LINE = (
    b'{"custom_id": "one", "method": "POST", "url": "/v1/images/generations",'
    b' "body": {"prompt": "a red apple"}}\n'
)


@dataclass(frozen=True)
class Route:
    """A request, but for what stands in braces in its path."""

    method: str
    path: str
    scope: Scope | None
    """None needs no key."""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """JSON; bytes are sent as they are; a callable makes it of the things that are there."""
    files: Any = None
    """Of a form."""

    def send(self, client: httpx.Client, things: Mapping[str, str], **more: Any) -> httpx.Response:
        """Send it about some things: values for the braces."""
        body = self.body(things) if callable(self.body) else self.body
        given = {"content": body} if isinstance(body, bytes) else {"json": body}
        if self.files is not None:
            given = {"files": self.files, "data": body}
        elif body is None:
            given = {}
        path = self.path.format_map(things)
        return client.request(self.method, path, params=dict(self.query), **given, **more)

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_about_something(self) -> bool:
        """Whether its path names something that belongs to a tenant."""
        return "{" in self.path


READ, SUBMIT, OPERATE, ADMIN = Scope.READ, Scope.SUBMIT, Scope.OPERATE, Scope.ADMIN

ROUTES = (
    Route("GET", "/healthz", None),
    Route("GET", "/readyz", None),
    Route("GET", "/images/{job_id}.png", None, {"expires": "1", "signature": "none"}),
    Route("GET", "/metrics", ADMIN),
    Route("POST", "/api/files", SUBMIT, {"name": "x.jsonl"}, JSONL),
    Route("GET", "/api/files", READ),
    Route("GET", "/api/files/{file_id}", READ),
    Route("GET", "/api/files/{file_id}/content", READ),
    Route("POST", "/api/batches", SUBMIT, body=PROMPTS),
    Route("GET", "/api/batches", READ),
    Route("GET", "/api/batches/{batch_id}", READ),
    Route("GET", "/api/batches/{batch_id}/events", READ),
    Route("GET", "/api/batches/{batch_id}/jobs", READ),
    Route("GET", "/api/batches/{batch_id}/jobs/{name}", READ),
    Route("GET", "/api/batches/{batch_id}/manifest", READ),
    Route("GET", "/api/batches/{batch_id}/rejects", READ),
    Route("GET", "/api/batches/{batch_id}/bill", READ),
    Route("PATCH", "/api/batches/{batch_id}", OPERATE, body={"priority": 1}),
    Route("POST", "/api/batches/{batch_id}/retry", OPERATE, body={}),
    Route("POST", "/api/batches/{batch_id}/approve", OPERATE),
    Route("POST", "/api/batches/{batch_id}/reject", OPERATE),
    Route("POST", "/api/batches/{batch_id}/cancel", OPERATE, body={}),
    Route("GET", "/api/jobs/{job_id}/image", READ),
    Route("GET", "/api/costs", READ),
    Route("POST", "/api/quotes", SUBMIT, body=PROMPTS),
    Route("GET", "/api/models", READ),
    Route("GET", "/api/prices", READ),
    Route("POST", "/api/prices", ADMIN, {"check": "true"}, b'currency = "USD"\n'),
    Route("GET", "/api/workers", ADMIN),
    Route("GET", "/api/fleet", ADMIN),
    Route("POST", "/api/workers/{worker_id}/drain", ADMIN),
    Route("POST", "/api/workers/{worker_id}/resume", ADMIN),
    Route("POST", "/api/keys", ADMIN, body={"tenant": "another"}),
    Route("GET", "/api/keys", ADMIN),
    Route("DELETE", "/api/keys/{key_id}", ADMIN),
    Route("GET", "/api/webhooks", OPERATE),
    Route("POST", "/api/webhooks", OPERATE, body={"url": "https://example.com/hook"}),
    Route("GET", "/api/webhooks/{webhook_id}/deliveries", OPERATE),
    Route("POST", "/api/webhooks/{webhook_id}/test", OPERATE),
    Route("DELETE", "/api/webhooks/{webhook_id}", OPERATE),
    Route("GET", "/v1/models", READ),
    Route("GET", "/v1/models/{model}", READ),
    Route("POST", "/v1/images/generations", SUBMIT, body={"prompt": "an apple", "model": "none"}),
    Route(
        "POST",
        "/v1/files",
        SUBMIT,
        body={"purpose": "batch"},
        files={"file": ("requests.jsonl", REQUEST_LINE)},
    ),
    Route("GET", "/v1/files", READ),
    Route("GET", "/v1/files/{openai_file_id}", READ),
    Route("GET", "/v1/files/{openai_file_id}/content", READ),
    Route(
        "POST",
        "/v1/batches",
        SUBMIT,
        body=lambda things: {
            "input_file_id": things["openai_file_id"],
            "endpoint": "/v1/images/generations",
            "completion_window": "24h",
        },
    ),
    Route("GET", "/v1/batches", READ),
    Route("GET", "/v1/batches/{openai_batch_id}", READ),
    Route("POST", "/v1/batches/{openai_batch_id}/cancel", OPERATE),
    Route("DELETE", "/v1/files/{openai_file_id}", OPERATE),
    Route("DELETE", "/api/files/{file_id}", OPERATE),
)
"""In an order in which what is removed is not needed afterwards."""

SHARED = frozenset({"GET /v1/models/{model}", "DELETE /api/keys/{key_id}"})
"""About things that belong to no tenant."""


def nothing() -> Mapping[str, str]:
    """Name things that are not there."""
    return {
        **{f"{kind}_id": str(uuid4()) for kind in ("batch", "job", "file", "key", "webhook")},
        "worker_id": str(uuid4()),
        "openai_file_id": f"file-{uuid4().hex}",
        "openai_batch_id": f"batch_{uuid4().hex}",
        "name": "0",
        "model": "none",
    }


def shape_of(path: str) -> str:
    """Leave out what the braces of a path call their values."""
    return re.sub(r"\{\w+\}", "{}", path)


def one_of_everything(client: httpx.Client) -> Mapping[str, str]:
    """Make one of each thing that a tenant can have; returns their ids."""
    batch = client.post("/api/batches", json=PROMPTS).raise_for_status().json()["batch_id"]
    jobs = client.get(f"/api/batches/{batch}/jobs").raise_for_status().json()["jobs"]
    file = client.post("/api/files", params={"name": "x.jsonl"}, content=JSONL)
    webhook = client.post("/api/webhooks", json={"url": "https://8.8.8.8/hook"})
    upload = client.post(
        "/v1/files", data={"purpose": "batch"}, files={"file": ("x.jsonl", REQUEST_LINE)}
    ).raise_for_status()
    asked = client.post(
        "/v1/batches",
        json={
            "input_file_id": upload.json()["id"],
            "endpoint": "/v1/images/generations",
            "completion_window": "24h",
        },
    ).raise_for_status()
    return {
        **nothing(),
        "batch_id": batch,
        "job_id": jobs[0]["job_id"],
        "file_id": file.raise_for_status().json()["file_id"],
        "webhook_id": webhook.raise_for_status().json()["webhook_id"],
        "openai_file_id": upload.json()["id"],
        "openai_batch_id": asked.json()["id"],
    }
