"""The form of a new batch as tests fill it in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import select

from shared.db.api_tables import BatchRequest, StoredFile
from support.api import ApiServer
from support.visits import Document, Visit, check_headers

PREVIEW, CONFIRM, FORM = "/batches/new/preview", "/batches/new/confirm", "/batches/new"
UPLOAD = "/batches/new/file"


def sent(
    visit: Visit,
    path: str,
    status: int = 200,
    *,
    file: tuple[str, bytes] | None = None,
    **fields: str,
) -> Document:
    """Send a form with parts, as a browser does, and read the page that comes."""
    data = {"form_token": visit.form_token(), **fields}
    parts = {"file": file or ("", b"")}
    answer = visit.client.post(path, data=data, files=parts)
    assert answer.status_code == status, answer.text[:2000]
    check_headers(answer)
    page = Document(answer.text)
    assert not page.faults()
    return page


def hidden(page: Document) -> dict[str, Any]:
    """Return the fields of the form that confirms."""
    return {
        one.attributes["name"]: one.attributes["value"]
        for one in page.all("input", type="hidden")
        if one.attributes["name"] != "form_token"
    }


def values(page: Document) -> Mapping[str, str]:
    """Return what a form's inputs say."""
    return {
        one.attributes["name"]: one.attributes.get("value", "")
        for one in page.all("input")
        if "name" in one.attributes
    }


def confirmed(visit: Visit, page: Document) -> str:
    """Confirm what a page shows; returns the batch's id."""
    return visit.post(CONFIRM, **hidden(page)).headers["location"].rpartition("/")[2]


def asked_for(api: ApiServer, key: str, batch_id: str) -> dict[str, object]:
    """Return a batch once its file was read."""
    with api.client(key) as client:
        for _ in range(400):
            found: dict[str, object] = client.get(f"/api/batches/{batch_id}").json()
            if found["state"] != "validating":
                return found
            client.get(f"/api/batches/{batch_id}")
    raise AssertionError(found)


def kept(api: ApiServer) -> tuple[set[UUID], set[UUID]]:
    """Return the ids of all files, and of all batches that were asked for, whoever's they are."""
    with api.database.read() as session:
        files, batches = (
            set(session.scalars(select(owned.id))) for owned in (StoredFile, BatchRequest)
        )
    return files, batches


def upload(visit: Visit, body: bytes, name: str, token: str | None = None) -> httpx.Response:
    """Send a file as a script does, with the token of the visit or another one."""
    return visit.client.post(
        UPLOAD,
        params={"name": name},
        content=body,
        headers={"X-Form-Token": visit.form_token() if token is None else token},
    )
