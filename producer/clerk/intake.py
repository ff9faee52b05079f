"""From a file that was uploaded to the jobs of a batch."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from producer.batch_options import BatchOptions
from producer.batch_requests import cancel_request
from producer.clerk.claim import Claim
from producer.order import RefusedError, Submission
from producer.prompt_files import PromptSource
from producer.prompt_format import PromptFormat
from producer.rejected_lines import keep_rejects
from producer.rejects import RejectedLine
from producer.services import Services
from producer.submit import ConflictError, submit
from producer.uploaded_prompts import open_uploaded
from producer.uploads import FileView
from shared.db.api_tables import BatchRequest, StoredFile
from shared.db.tables import Batch
from shared.domain.jobs import BatchControl
from shared.domain.requests import RequestState
from shared.errors import ConfigurationError, InputError
from shared.storage.base import ObjectNotFoundError, ObjectStore

FILE_GONE = {"code": "file_not_found", "message": "its file is gone"}
KEY_PREFIX = "api:"
"""Keeps the keys of these batches apart from those that users choose."""


def take_in(services: Services, claim: Claim) -> None:
    """Write the jobs of a request's batch; what was cut off before goes on where it stopped.

    Raises:
        ServiceUnavailableError: something that is needed does not answer; later it may.
        ClaimLostError: another clerk has taken it over.
    """
    with services.database.read() as session:
        request = session.get_one(BatchRequest, claim.request_id)
        file = session.get(StoredFile, request.input_file_id)
    if file is None:
        _refuse(services, request, [FILE_GONE])
        return
    try:
        submission = _submit(services, claim, request, FileView.of(file))
    except RefusedError as error:
        keep_rejects(services.store, request.id, error.rejects)
        _refuse(services, request, _errors_of(error), requests=error.rejects.count)
    except ConflictError:
        _called_off(services, request)
    except ObjectNotFoundError:
        _refuse(services, request, [FILE_GONE])
    except (InputError, ConfigurationError) as error:
        _refuse(services, request, [{"code": "invalid_file", "message": error.message}])
    else:
        keep_rejects(services.store, request.id, submission.rejects)
        _taken_in(services, request, submission)


def _submit(services: Services, claim: Claim, request: BatchRequest, file: FileView) -> Submission:
    options = BatchOptions.model_validate(request.options)
    order = options.order(
        request.tenant,
        key=f"{KEY_PREFIX}{request.id}",
        batch_id=request.id,
        client={"file_id": str(request.input_file_id)},
        traceparent=request.traceparent,
    )
    card = options.card(services.settings)
    with open_requested(services.store, request, file, card.name) as source:
        return submit(
            services.database,
            services.settings,
            card,
            source,
            order,
            on_progress=lambda _jobs, _share: claim.renew(),
        )


def open_requested(
    store: ObjectStore, request: BatchRequest, file: FileView, model: str
) -> AbstractContextManager[PromptSource]:
    """Open the file of a request, which may name no other model than its batch's."""
    known = None if request.prompt_format is None else PromptFormat(request.prompt_format)
    return open_uploaded(store, file, known, model=model)


def _taken_in(services: Services, request: BatchRequest, submission: Submission) -> None:
    with services.database.write() as session:
        found = session.get_one(BatchRequest, request.id, with_for_update=True)
        now = services.database.now(session)
        found.requests = (submission.requests or 0) + submission.rejects.count
        found.worked_on_until = None
        found.failures = 0
        if found.state != RequestState.VALIDATING:
            return
        found.in_progress_at = now
        found.state = RequestState.IN_PROGRESS
        if found.endpoint is None:  # nothing is written at its end
            found.state, found.ended_at = RequestState.COMPLETED, now


def _called_off(services: Services, request: BatchRequest) -> None:
    """Let go of a batch that was called off while it was read, by whatever means."""
    with services.database.write() as session:
        found = session.get_one(BatchRequest, request.id, with_for_update=True)
        batch = session.get(Batch, request.id)
        if batch is not None and batch.control == BatchControl.CANCELLED:
            cancel_request(session, found, services.database.now(session))
        found.worked_on_until = None


def _refuse(
    services: Services, request: BatchRequest, errors: list[dict[str, Any]], *, requests: int = 0
) -> None:
    with services.database.write() as session:
        found = session.get_one(BatchRequest, request.id, with_for_update=True)
        now = services.database.now(session)
        found.errors = {"data": errors}
        found.requests = requests
        found.worked_on_until = None
        has_lines = requests or session.get(Batch, request.id) is not None
        if found.endpoint is not None and has_lines:  # which are in the files of results
            found.state, found.finalizing_at = RequestState.FINALIZING, now
        else:
            found.state, found.ended_at = RequestState.FAILED, now


def _errors_of(error: RefusedError) -> list[dict[str, Any]]:
    return [
        {"code": "refused", "message": error.message},
        *(_error_of(line) for line in error.rejects.first),
    ]


def _error_of(line: RejectedLine) -> dict[str, Any]:
    return {
        "code": "invalid_line",
        "message": line.reason,
        "param": line.field,
        "line": line.line_number,
    }
