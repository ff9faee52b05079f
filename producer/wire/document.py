"""What all documents have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

BATCH_ID = "0197f3a2-5c1e-7bb0-9f6e-1f2d3c4b5a69"
JOB_ID = "0197f3a2-5c20-7d11-8a4b-0a1b2c3d4e5f"
"""Of the examples."""


class Document(BaseModel):
    """Takes what a newer server adds."""

    model_config = ConfigDict(frozen=True, extra="allow")
