"""The files that come of a batch in OpenAI's form: a line for every line of its own file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, groupby
from uuid import UUID

from pydantic_core import to_json

from producer.image_urls import ImageUrls
from producer.manifest.jobs import JobFacts, job_pages
from producer.openai_bodies import Places
from producer.openai_lines import Reason, ResultLine, drawn_line, sends_images
from producer.openai_undrawn import images_wanted, is_taken_in, undrawn_lines
from producer.services import Services
from producer.uploads import FileWriter, file_key
from shared.db.api_tables import BatchRequest
from shared.db.engine import Database
from shared.db.tables import Batch
from shared.domain.jobs import JobState
from shared.storage.base import ObjectNotFoundError, ObjectStore

JSON_LINES = "application/jsonl"
READERS = 8
MOST_IN_MEMORY = 32
"""Images that are read before they are written."""


class ResultFile:
    """A file that is there, whole, when the stack ends well, if it has a line."""

    def __init__(self, stack: ExitStack, store: ObjectStore, file_id: UUID) -> None:
        self.file_id = file_id
        self.lines = 0
        self.written: FileWriter | None = None
        self._stack = stack
        self._store = store

    def write(self, document: Mapping[str, object]) -> None:
        """Append a line."""
        if self.written is None:
            writer = self._store.writer(file_key(self.file_id), JSON_LINES)
            self.written = FileWriter(self.file_id, self._stack.enter_context(writer))
        self.written.write(to_json(document) + b"\n")
        self.lines += 1


def write_result_files(
    services: Services,
    request: BatchRequest,
    urls: ImageUrls,
    undone: Reason,
    file_ids: tuple[UUID, UUID],
    on_line: Callable[[], None],
) -> tuple[ResultFile, ResultFile]:
    """Write the file of outputs and that of errors; both together have all lines.

    Args:
        services: database and store.
        request: a batch that has ended.
        urls: makes the images' URLs.
        undone: why jobs were called off.
        file_ids: of outputs and errors; what was begun with the same is written over.
        on_line: called now and then.

    Raises:
        ServiceUnavailableError: the store does not answer.
    """
    with ExitStack() as stack:
        outputs, errors = (ResultFile(stack, services.store, file_id) for file_id in file_ids)
        for line in _lines(services, request, urls, undone):
            (outputs if line.is_output else errors).write(line.document)
            on_line()
    return outputs, errors


def _lines(
    services: Services, request: BatchRequest, urls: ImageUrls, undone: Reason
) -> Iterator[ResultLine]:
    with services.database.read() as session:
        batch = session.get(Batch, request.id)
    last = 0
    if batch is not None:
        base_url = services.settings.public_url or request.base_url or ""
        places = Places(urls, base_url, request.finalizing_at or request.created_at)
        for facts, in_place in _with_images(services.store, _requests(services.database, batch.id)):
            last = facts[0].job.source_line or 0
            wanted = None
            if facts[-1].job.position == batch.total - 1 and not is_taken_in(request, batch):
                wanted = images_wanted(services, request, last)
            yield drawn_line(facts, places, in_place, undone, wanted=wanted)
    yield from undrawn_lines(services, request, batch, last, undone)


def _requests(database: Database, batch_id: UUID) -> Iterator[Sequence[JobFacts]]:
    """Yield the jobs of each line of a batch's file."""
    jobs = chain.from_iterable(job_pages(database, batch_id))
    for _, group in groupby(jobs, key=lambda one: one.job.source_line):
        yield list(group)


def _with_images(
    store: ObjectStore, requests: Iterator[Sequence[JobFacts]]
) -> Iterator[tuple[Sequence[JobFacts], Mapping[str, bytes] | None]]:
    """Yield requests with the images that they want to be sent, or None for URLs."""
    with ThreadPoolExecutor(READERS) as pool:
        for some in _by_images(requests):
            keys = {
                one.job.image_key
                for facts in some
                if sends_images(facts)
                for one in facts
                if one.job.state == JobState.DONE and one.job.image_key is not None
            }
            found = zip(keys, pool.map(lambda key: _image(store, key), keys), strict=True)
            images = {key: image for key, image in found if image is not None}
            for facts in some:
                yield facts, images if sends_images(facts) else None


def _by_images(requests: Iterator[Sequence[JobFacts]]) -> Iterator[list[Sequence[JobFacts]]]:
    some: list[Sequence[JobFacts]] = []
    images = 0
    for facts in requests:
        some.append(facts)
        images += len(facts)
        if images >= MOST_IN_MEMORY:
            yield some
            some, images = [], 0
    if some:
        yield some


def _image(store: ObjectStore, key: str) -> bytes | None:
    try:
        return store.get(key)
    except ObjectNotFoundError:
        return None
