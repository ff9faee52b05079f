"""What OpenAI's API answers, for the documentation of ours."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from producer.api.openai.ids import EXAMPLE_BATCH, EXAMPLE_FILE
from producer.prompt_openai import ENDPOINT

NOW = 1_900_000_000
PRESIGNED = "https://tenstep.example/images/0197f3a2-5c20-7d11-8a4b-0a1b2c3d4e5f.png?expires=…"


class FileObject(BaseModel):
    """A file."""

    id: str = Field(examples=[EXAMPLE_FILE])
    object: Literal["file"] = "file"
    bytes: int
    created_at: int = Field(examples=[NOW])
    filename: str = Field(examples=["requests.jsonl"])
    purpose: str = Field(examples=["batch"], description="batch, or batch_output of results")
    status: Literal["processed"] = "processed"


class FileDeleted(BaseModel):
    """That a file is gone."""

    id: str = Field(examples=[EXAMPLE_FILE])
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class Page(BaseModel):
    """Some objects of a list, newest first."""

    object: Literal["list"] = "list"
    first_id: str | None
    last_id: str | None = Field(description="Give it as `after` for the next page.")
    has_more: bool


class FilePage(Page):
    """Some files."""

    data: list[FileObject]


class RequestCounts(BaseModel):
    """How far a batch is. While it is under way, requests of several images are estimated."""

    total: int
    completed: int = Field(description="Requests whose images are all there.")
    failed: int = Field(description="Requests that were refused, failed or were called off.")


class BatchErrors(BaseModel):
    """Why a batch could not be taken in."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]] = Field(
        examples=[[{"code": "invalid_line", "line": 1, "message": "…", "param": "body.prompt"}]]
    )


class BatchObject(BaseModel):
    """A batch of requests."""

    id: str = Field(examples=[EXAMPLE_BATCH])
    object: Literal["batch"] = "batch"
    endpoint: str = Field(examples=[ENDPOINT])
    model: str | None = Field(examples=["emoji-64"])
    errors: BatchErrors | None
    input_file_id: str = Field(examples=[EXAMPLE_FILE])
    completion_window: str = Field(examples=["24h"])
    status: str = Field(
        examples=["in_progress"],
        description="validating, in_progress, finalizing, completed, failed, expired, cancelling "
        "or cancelled",
    )
    output_file_id: str | None
    error_file_id: str | None
    created_at: int = Field(examples=[NOW])
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None
    usage: dict[str, Any] = Field(
        description="What is booked for it so far; it has no tokens.",
        examples=[
            {
                "total_tokens": 0,
                "device_seconds": 5.81,
                "cost_usd": "0.000123456",
                "cost_nanodollars": 123456,
            }
        ],
    )


class BatchPage(Page):
    """Some batches."""

    data: list[BatchObject]


class ModelObject(BaseModel):
    """A model."""

    id: str = Field(examples=["emoji-64"])
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelPage(BaseModel):
    """All models, the server's default first."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class ImageObject(BaseModel):
    """An image: where it is, or itself."""

    url: str | None = Field(
        default=None, examples=[PRESIGNED], description="Needs no key, and expires."
    )
    b64_json: str | None = Field(default=None, description="A PNG in base64.")


class ImagesUsage(BaseModel):
    """What images have cost. There are no tokens in it."""

    input_tokens: int = 0
    input_tokens_details: dict[str, int]
    output_tokens: int = 0
    output_tokens_details: dict[str, int]
    total_tokens: int = 0
    device_seconds: float
    cost_usd: str = Field(examples=["0.000123456"])
    cost_nanodollars: int


class ImagesObject(BaseModel):
    """Images."""

    created: int = Field(examples=[NOW])
    data: list[ImageObject]
    output_format: Literal["png"] = "png"
    size: str = Field(examples=["64x64"])
    usage: ImagesUsage
