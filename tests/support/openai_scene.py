"""A clerk, files of requests in OpenAI's form, and what may become of their images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import update

from producer.batch_options import BatchOptions
from producer.batch_requests import Asked, ask, cancel_request
from producer.clerk.clerk import Clerk
from producer.prompt_format import PromptFormat
from producer.prompt_openai import ENDPOINT
from producer.services import Services
from producer.uploads import add_file, new_file
from shared.db.api_tables import BatchRequest, StoredFile
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.outcomes import record_done, record_failure
from shared.db.tables import Job
from shared.domain.identifiers import new_id
from shared.domain.jobs import JobState
from shared.messaging.broker import Broker
from shared.settings import Settings
from shared.storage.base import ObjectStore
from shared.storage.open import open_store
from support.factories import IMAGE, LEASE, TIMES, add_worker, jobs_of

PNG = b"\x89PNG\r\n\x1a\n"
"""Stands for the image of every job that is done."""
SOON = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Results:
    """What came of a batch."""

    request: BatchRequest
    outputs: Sequence[Mapping[str, Any]]
    errors: Sequence[Mapping[str, Any]]

    @property
    def lines(self) -> Sequence[Mapping[str, Any]]:
        return [*self.outputs, *self.errors]


@dataclass(frozen=True, slots=True)
class OpenAIScene:
    """One installation without a server: its clerk works when it is told to."""

    services: Services
    clerk: Clerk
    worker_id: UUID

    @classmethod
    def made(cls, database: Database, folder: Path) -> Self:
        settings = Settings(data_dir=folder, redis_url=SecretStr("redis://nowhere.invalid"))
        services = Services(settings, database, open_store(settings), Broker(settings))
        services.store.put(IMAGE.key, PNG, "image/png")
        with database.write() as session:
            worker_id = add_worker(session, started_at=database.now(session)).id
        return cls(services, Clerk(services), worker_id)

    @property
    def database(self) -> Database:
        return self.services.database

    @property
    def store(self) -> ObjectStore:
        return self.services.store

    def submit(self, *lines: bytes | Mapping[str, Any]) -> UUID:
        """Ask for a batch; nobody has looked at it yet."""
        texts = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        return self.submit_bytes(b"".join(text + b"\n" for text in texts))

    def submit_bytes(self, content: bytes) -> UUID:
        """Ask for a batch of a file that may be anything."""
        with new_file(self.store) as written:
            written.write(content)
        file = add_file(self.database, written, tenant="t", name="r.jsonl", purpose="batch")
        with self.database.write() as session:
            asked = Asked(
                tenant="t",
                input_file_id=file.id,
                prompt_format=PromptFormat.OPENAI,
                options=BatchOptions(model="emoji-64"),
                endpoint=ENDPOINT,
                completion_window="1h",
                window=SOON,
                base_url="http://tenstep.test",
            )
            now = self.database.now(session)
            return ask(session, self.services.settings, asked, now).id

    def work(self) -> None:
        self.clerk.work()

    def work_to_the_end(self, batch_id: UUID) -> Results:
        for _ in range(10):
            self.work()
            if self.request(batch_id).ended_at is not None:
                return self.results(batch_id)
        raise AssertionError(f"it is {self.request(batch_id).state} for ever")

    def request(self, batch_id: UUID) -> BatchRequest:
        with self.database.read() as session:
            return session.get_one(BatchRequest, batch_id)

    def jobs(self, batch_id: UUID) -> Sequence[Job]:
        with self.database.read() as session:
            return jobs_of(session, batch_id)

    def end_jobs(self, batch_id: UUID, ends: Mapping[int, JobState]) -> None:
        """Draw jobs that wait, by their positions, or have them fail."""
        with self.database.write() as session:
            chunk_id, now = new_id(), self.database.now(session)
            session.execute(
                update(Job)
                .where(Job.batch_id == batch_id, Job.position.in_(ends))
                .values(chunk_id=chunk_id, queue="cpu.tiny", dispatched_at=now),
                execution_options={"synchronize_session": False},
            )
            for lease in claim_chunk(session, chunk_id, self.worker_id, now, LEASE):
                if ends[lease.job.position] is JobState.DONE:
                    record_done(session, lease, IMAGE, TIMES, {"model": "emoji-64"}, now)
                else:
                    record_failure(
                        session,
                        lease,
                        code="broken",
                        message="it broke",
                        retry_at=None,
                        times=TIMES,
                        now=now,
                    )

    def cancel(self, batch_id: UUID) -> None:
        with self.database.write() as session:
            request = session.get_one(BatchRequest, batch_id, with_for_update=True)
            cancel_request(session, request, self.database.now(session))

    @contextmanager
    def changed(self, batch_id: UUID) -> Iterator[BatchRequest]:
        """Change the row itself, as time does."""
        with self.database.write() as session:
            yield session.get_one(BatchRequest, batch_id)

    def let_expire(self, batch_id: UUID) -> None:
        with self.changed(batch_id) as request:
            request.expires_at = request.created_at

    def results(self, batch_id: UUID) -> Results:
        request = self.request(batch_id)
        return Results(
            request, self._lines(request.output_file_id), self._lines(request.error_file_id)
        )

    def _lines(self, file_id: UUID | None) -> Sequence[Mapping[str, Any]]:
        if file_id is None:
            return []
        with self.database.read() as session:
            file = session.get_one(StoredFile, file_id)
        content = self.store.get(file.object_key)
        assert len(content) == file.bytes
        return [json.loads(line) for line in content.splitlines()]


def request_line(custom_id: str, **body: Any) -> dict[str, Any]:
    """Make a good line of a batch's file."""
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": ENDPOINT,
        "body": {"prompt": f"a picture of {custom_id}", **body},
    }


def url_of(line: Mapping[str, Any]) -> str:
    """Find the address of the only image of a line of outputs."""
    [image] = line["response"]["body"]["data"]
    return str(image["url"])
