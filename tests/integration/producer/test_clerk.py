"""The clerk takes in what was asked for, once, whoever dies in the middle."""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select

from producer.batch_options import BatchOptions
from producer.batch_requests import Asked, LimitReachedError, ask
from producer.clerk.claim import Claim, ClaimLostError
from producer.clerk.clerk import Clerk
from producer.prompt_format import PromptFormat
from producer.services import Services
from producer.uploads import add_file, new_file
from shared.db.api_tables import BatchRequest
from shared.db.batches import cancel_batch
from shared.db.engine import Database
from shared.db.tables import Batch, Job
from shared.domain.requests import RequestState
from shared.messaging.broker import Broker
from shared.settings import Settings
from shared.storage.folder import FolderStore
from support.api import ApiServer
from support.commands import wait_until
from support.factories import START

MANY = 60_000


@pytest.fixture
def services(
    sqlite_database: Database, queue_settings: Settings, broker: Broker, tmp_path: Path
) -> Services:
    settings = queue_settings.model_copy(update={"data_dir": tmp_path, "max_open_batches": 2})
    return Services(settings, sqlite_database, FolderStore(tmp_path / "objects"), broker)


def asked(services: Services, content: bytes) -> UUID:
    with new_file(services.store) as written:
        written.write(content)
    file = add_file(
        services.database, written, tenant="studio", name="prompts.jsonl", purpose="prompts"
    )
    wanted = Asked(
        tenant="studio",
        input_file_id=file.id,
        prompt_format=PromptFormat.JSONL,
        options=BatchOptions(),
    )
    with services.database.write() as session:
        now = services.database.now(session)
        return ask(session, services.settings, wanted, now).id


def state_of(database: Database, request_id: UUID) -> str:
    with database.read() as session:
        return session.get_one(BatchRequest, request_id).state


def jobs_of(database: Database, request_id: UUID) -> int:
    with database.read() as session:
        count = select(func.count()).select_from(Job).where(Job.batch_id == request_id)
        return session.scalar(count) or 0


def test_a_clerk_that_is_killed_has_its_work_finished_by_the_next(api: ApiServer) -> None:
    content = b"".join(b'{"prompt": "a fox number %d"}\n' % number for number in range(MANY))
    with api.client() as client:
        made = client.post(
            "/api/batches", content=content, headers={"Content-Type": "application/x-ndjson"}
        )
    request_id = UUID(made.json()["batch_id"])
    wait_until(lambda: jobs_of(api.database, request_id) > 0, seconds=20)
    [clerk] = [one for one in api.processes.running if "producer.clerk" in one.args]  # type: ignore[operator]  # a list, as we start it
    clerk.send_signal(signal.SIGKILL)
    clerk.wait()
    assert jobs_of(api.database, request_id) < MANY
    with api.database.write() as session:  # as if its claim had run out
        session.get_one(BatchRequest, request_id).worked_on_until = None

    api.processes.supervise()
    api.processes.supervise()
    wait_until(lambda: state_of(api.database, request_id) == "completed", seconds=40)

    assert jobs_of(api.database, request_id) == MANY


def test_a_claim_that_another_took_over_is_lost(services: Services) -> None:
    request_id = asked(services, b'{"prompt": "a fox"}\n')
    slow, quick = Claim(services.database, request_id), Claim(services.database, request_id)
    assert slow.take()
    assert not quick.take()
    with services.database.write() as session:
        request = session.get_one(BatchRequest, request_id)
        assert request.worked_on_until is not None
        request.worked_on_until -= timedelta(minutes=5)

    assert quick.take()
    slow._renew_at = 0
    with pytest.raises(ClaimLostError):
        slow.renew()
    slow.give_back()
    assert not slow.take()


def test_a_file_that_is_gone_is_no_reason_to_wait(services: Services) -> None:
    request_id = asked(services, b'{"prompt": "a fox"}\n')
    with services.database.read() as session:
        key = f"files/{session.get_one(BatchRequest, request_id).input_file_id}"
    services.store.delete(key)

    Clerk(services).work()

    with services.database.read() as session:
        request = session.get_one(BatchRequest, request_id)
        assert request.state == RequestState.FAILED
        assert request.errors == {
            "data": [{"code": "file_not_found", "message": "its file is gone"}]
        }


def test_a_store_that_does_not_answer_is_asked_again_later(services: Services) -> None:
    request_id = asked(services, b'{"prompt": "a fox"}\n')
    folder = services.settings.data_dir / "objects"
    folder.rename(folder.with_name("away"))
    folder.write_text("no folder")  # so that it is not as if the object were gone

    Clerk(services).work()

    with services.database.read() as session:
        request = session.get_one(BatchRequest, request_id)
        assert (request.state, request.failures) == (RequestState.VALIDATING, 1)
        assert request.worked_on_until is not None


def test_a_tenant_has_no_more_open_batches_than_it_may(services: Services) -> None:
    first = asked(services, b'{"prompt": "a fox"}\n')
    asked(services, b'{"prompt": "a cat"}\n')
    with pytest.raises(LimitReachedError, match="2 batches are open"):
        asked(services, b'{"prompt": "a dog"}\n')

    Clerk(services).work()
    with pytest.raises(LimitReachedError, match="2 batches are open"):
        asked(services, b'{"prompt": "a dog"}\n')
    with services.database.write() as session:
        assert cancel_batch(session, session.get_one(Batch, first), START) == 1

    asked(services, b'{"prompt": "a dog"}\n')


def test_what_was_written_and_not_named_is_nobodys(services: Services) -> None:
    def write_half() -> None:
        with new_file(services.store) as written:
            written.write(b"half of")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()

    assert list(services.store.list("files/")) == []
