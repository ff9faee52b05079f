"""An installation on Postgres, Redis and a folder, whose processes are of two releases."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import httpx
from sqlalchemy import select

from chaos.checks import inspect
from chaos.stacks import SERVICES, Stack
from shared.db.batches import count_jobs
from shared.db.engine import Database
from shared.db.migrate import current_revision
from shared.db.tables import Attempt, Batch, Job, Worker
from shared.domain.jobs import AttemptOutcome, JobState
from support.commands import running, tenstep, tenstep_json, wait_until

STOP_SECONDS = 120
SIMULATED = {"TENSTEP_DEVICE": "simulated:0", "TENSTEP_CHUNK_SIZE": "4"}
SLOW = {"TENSTEP_SIMULATED_IMAGE_SECONDS": "0.3"}
"""Of the workers that a batch has to outlast: with two of them 400 images take 60 s."""
TOTAL = select(Batch.total)
"""No other column: the tables are the previous release's at first."""
FAST = {"TENSTEP_SIMULATED_IMAGE_SECONDS": "0.005"}


@dataclass
class Rollout:
    """One batch, and the processes that come and go while it is drawn."""

    new: Mapping[str, str]
    """The environment of this version's processes."""
    old: Mapping[str, str]
    """That of the previous release's."""
    folder: Path
    database: Database
    pods: ExitStack
    batch_id: UUID = field(init=False)

    def start(self, environment: Mapping[str, str], *command: str) -> subprocess.Popen[str]:
        """Start a process that keeps running."""
        return self.pods.enter_context(running(environment, *command, cwd=self.folder))

    def serve(self, environment: Mapping[str, str]) -> tuple[subprocess.Popen[str], str]:
        """Start a server without a dispatcher; returns it with its URL."""
        server = self.start(environment, "serve", "--no-dispatch", "--port", "0", "--json")
        assert server.stdout is not None
        url: str = json.loads(server.stdout.readline())["url"]
        wait_until(lambda: answers(url))
        return server, url

    def work(
        self, environment: Mapping[str, str], count: int
    ) -> tuple[subprocess.Popen[str], set[UUID]]:
        """Start workers, and wait until they are ready; returns them with their ids."""
        before = self.workers()
        process = self.start(environment, "worker", "--workers", str(count))
        wait_until(lambda: len(self.workers() - before) == count)
        return process, self.workers() - before

    def workers(self) -> set[UUID]:
        """Return the ids of all workers that ever were ready."""
        with self.database.read() as session:
            return set(session.scalars(select(Worker.id)))

    def submit(self, url: str, prompts: Sequence[str], **options: str) -> UUID:
        """Submit a batch over a server, and wait until it has all of its jobs."""
        lines = [json.dumps({"prompt": text, "seed": seed}) for seed, text in enumerate(prompts)]
        made = httpx.post(
            f"{url}/api/batches",
            params=options,
            content="\n".join(lines).encode(),
            headers={"Content-Type": "application/x-ndjson"},
            timeout=30,
        )
        assert made.is_success, made.text
        batch_id = UUID(made.json()["batch_id"])
        wait_until(lambda: self.total(batch_id) == len(prompts))
        return batch_id

    def total(self, batch_id: UUID) -> int:
        """Return how many jobs a batch has, once all are written."""
        is_whole = (Batch.id == batch_id, Batch.submitted_at.is_not(None))
        with self.database.read() as session:
            return session.scalar(TOTAL.where(*is_whole)) or 0

    def done(self, batch_id: UUID | None = None) -> int:
        """Count a batch's images; whenever anybody looks no job may be missing."""
        with self.database.read() as session:
            found = batch_id or self.batch_id
            counts = count_jobs(session, found)
            assert sum(counts.values()) == session.scalar(TOTAL.where(Batch.id == found))
        return counts[JobState.DONE]

    def wait_for_more(self, images: int) -> None:
        """Wait until so many more images are done."""
        enough = self.done() + images
        wait_until(lambda: self.done() >= enough)

    def chunks(self) -> set[UUID]:
        """Return every chunk that was ever sent and still is, or was begun."""
        with self.database.read() as session:
            sent = session.scalars(select(Job.chunk_id).where(Job.chunk_id.is_not(None)))
            begun = session.scalars(select(Attempt.chunk_id).where(Attempt.chunk_id.is_not(None)))
            return {chunk for chunk in [*sent, *begun] if chunk is not None}

    def drawn_by(self, workers: Collection[UUID], *, without: Collection[UUID] = ()) -> int:
        """Count the images that workers drew, of other chunks than these."""
        query = select(Attempt.chunk_id).where(
            Attempt.batch_id == self.batch_id,
            Attempt.outcome == AttemptOutcome.DONE,
            Attempt.worker_id.in_(workers),
        )
        with self.database.read() as session:
            return sum(chunk not in without for chunk in session.scalars(query))

    def images(self, batch_id: UUID) -> Sequence[str | None]:
        """Return the hashes of a batch's images, by position."""
        query = select(Job.image_sha256).where(Job.batch_id == batch_id).order_by(Job.position)
        with self.database.read() as session:
            return list(session.scalars(query))

    def migrate(self) -> None:
        """Have this version bring the database to its tables."""
        done = tenstep(self.new, "migrate", cwd=self.folder)
        assert done.returncode == 0, done.stderr

    def revision(self) -> str | None:
        """Return whose tables the database has."""
        return current_revision(self.database)

    def drain(self, worker_id: UUID) -> None:
        """Drain a worker as an operator would."""
        tenstep_json(self.new, "workers", "drain", str(worker_id), cwd=self.folder)

    def problems(self) -> Sequence[str]:
        """Say what is wrong with the batch, its images and all books: nothing may have failed."""
        stack = Stack(SERVICES, self.folder, dict(self.new))
        try:
            figures, problems = inspect(stack, self.batch_id, failing=0)
        finally:
            stack.database.close()
        ended = select(Attempt.outcome).where(Attempt.batch_id == self.batch_id).distinct()
        with self.database.read() as session:
            outcomes = set(session.scalars(ended))
        if outcomes - {AttemptOutcome.DONE, AttemptOutcome.RETURNED}:
            problems.append(f"attempts ended as {outcomes}")
        if figures.orphans:
            problems.append(f"{figures.orphans} images had no job")
        return problems


def stop(process: subprocess.Popen[str]) -> None:
    """Stop a process as Kubernetes would, and wait for its end."""
    process.terminate()
    process.wait(STOP_SECONDS)


def answers(url: str) -> bool:
    """Tell whether a server is ready."""
    try:
        return httpx.get(f"{url}/readyz", timeout=5).is_success
    except httpx.TransportError:
        return False


@contextmanager
def rolled_out(
    environment: Mapping[str, str], old: Mapping[str, str], folder: Path
) -> Iterator[Rollout]:
    """Have an installation without processes; whatever is started ends with the block."""
    database = Database(environment["TENSTEP_DATABASE_URL"])
    try:
        with ExitStack() as pods:
            yield Rollout(environment, old, folder, database, pods=pods)
    finally:
        database.close()
