"""Names and payloads on the wire, declared once and versioned."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class TaskName(StrEnum):
    """Tasks by the name that travels."""

    RENDER_CHUNK = "tenstep.render_chunk"


class RenderChunk(BaseModel):
    """A pointer to a few jobs in SQL; 10 M images of 8 a chunk are some 1.3 M of these."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    chunk_id: UUID
    batch_id: UUID


def queue_name(device_kind: str, model: str) -> str:
    """Name the queue of one device kind and one model."""
    return f"{device_kind}.{model}".replace("/", "--").replace(" ", "-")
