"""``manifest.parquet``: a row a job, with a type for each column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple
from uuid import UUID

import pyarrow as pa
from pyarrow import parquet

from producer.manifest.jobs import JobFacts, JobRow, Place, record_of

ROWS_A_GROUP = 20_000

Row = tuple[JobFacts, Place | None]
Write = Callable[[Sequence[Row]], None]


class _Column(NamedTuple):
    name: str
    kind: pa.DataType
    value: Callable[[Row], Any]


def _of_job(name: str, kind: pa.DataType) -> _Column:
    index = JobRow._fields.index(name)
    return _Column(name.removeprefix("image_"), kind, lambda row: row[0].job[index])


def _of_attempt(name: str, kind: pa.DataType) -> _Column:
    return _Column(name, kind, lambda row: row[0].attempt and getattr(row[0].attempt, name))


def _of_record(name: str) -> _Column:
    return _Column(name, pa.string(), lambda row: record_of(row[0].attempt).get(name) or None)


def _reused_from(row: Row) -> str | None:
    return str(row[0].job.reused_from) if row[0].job.reused_from else None


COLUMNS = (
    _of_job("position", pa.int64()),
    _of_job("custom_id", pa.string()),
    _of_job("source_line", pa.int64()),
    _of_job("prompt", pa.string()),
    _of_job("negative_prompt", pa.string()),
    _of_job("seed", pa.int64()),
    _of_job("width", pa.int32()),
    _of_job("height", pa.int32()),
    _of_job("scheduler", pa.string()),
    _of_job("steps", pa.int32()),
    _of_job("squeeze", pa.string()),
    _of_job("guidance_scale", pa.float64()),
    _of_job("guidance_rescale", pa.float64()),
    _of_job("quality", pa.string()),
    _of_job("metadata", pa.string()),
    _Column("model", pa.string(), lambda row: row[0].model),
    _of_job("state", pa.string()),
    _Column("file", pa.string(), lambda row: row[1] and row[1].file),
    _Column("shard", pa.string(), lambda row: row[1] and row[1].shard),
    _of_job("image_key", pa.string()),
    _of_job("image_sha256", pa.string()),
    _of_job("image_bytes", pa.int64()),
    _of_job("finished_at", pa.timestamp("us", tz="UTC")),
    _Column("reused_from", pa.string(), _reused_from),
    _of_job("attempts", pa.int32()),
    _Column("cost_nanodollars", pa.int64(), lambda row: row[0].cost_nanodollars),
    _of_record("weights_sha256"),
    _of_record("backend"),
    _of_record("backend_version"),
    _of_record("precision"),
    _of_attempt("device_kind", pa.string()),
    _of_attempt("device_name", pa.string()),
    _of_attempt("queue_wait_ns", pa.int64()),
    _of_attempt("text_encode_ns", pa.int64()),
    _of_attempt("denoise_ns", pa.int64()),
    _of_attempt("decode_ns", pa.int64()),
    _of_attempt("safety_check_ns", pa.int64()),
    _of_attempt("png_encode_ns", pa.int64()),
    _of_attempt("upload_ns", pa.int64()),
    _of_attempt("device_ns", pa.int64()),
    _of_record("prompt_lost"),
    _of_record("negative_prompt_lost"),
    _Column("safety_checker", pa.string(), lambda row: row[0].safety_checker),
    _of_job("error_code", pa.string()),
    _of_job("error_message", pa.string()),
    _of_attempt("record", pa.string()),
)


@contextmanager
def parquet_writer(file: IO[bytes], batch_id: UUID) -> Iterator[Write]:
    """Write rows as they come; hands out the function to call with some at a time."""
    schema = pa.schema(
        [(column.name, column.kind) for column in COLUMNS],
        metadata={"tenstep_batch_id": str(batch_id)},
    )
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        waiting: list[pa.RecordBatch] = []

        def flush() -> None:
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting), row_group_size=ROWS_A_GROUP)
                waiting.clear()

        def write(rows: Sequence[Row]) -> None:
            arrays = [pa.array(map(column.value, rows), column.kind) for column in COLUMNS]
            waiting.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
            if sum(batch.num_rows for batch in waiting) >= ROWS_A_GROUP:
                flush()

        yield write
        flush()
