"""The backlog in device time as KEDA reads it: by the chart's query, on a real Postgres."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import URL, select, text, update

from producer.backlog import UNKNOWN, Pool, read_backlog
from producer.dispatch import Dispatcher
from shared.db.backlog_tables import ALL, BacklogRow
from shared.db.batches import set_control
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.fleet import live_kinds
from shared.db.outcomes import record_done
from shared.db.rates import record_rates
from shared.db.tables import Batch
from shared.domain.jobs import BatchControl, JobState
from shared.domain.rates import Measured, Shape
from shared.messaging.broker import Broker
from shared.settings import Settings
from support.factories import IMAGE, LEASE, START, TIMES, add_batch, add_price, add_worker, jobs_of
from support.keda import PLACEHOLDER, QUERY, ask, desired_replicas, query_of
from support.shell import Shell, write

SECOND = timedelta(seconds=1)
SECOND_NS = 10**9
TINY = Shape(64, 64, 10, is_guided=True)


@dataclass
class Fleet:
    """A dispatcher's database, and workers in it."""

    database: Database
    broker: Broker
    settings: Settings

    def tick(self) -> None:
        """Have a dispatcher look that has just begun."""
        dispatcher = Dispatcher(self.database, self.broker, self.settings)
        dispatcher.tick_now()
        dispatcher.stop()

    def submit(self, jobs: int, model: str = "tiny") -> UUID:
        with self.database.write() as session:
            return add_batch(session, jobs=jobs, model=model).id

    def measured(self, model: str, seconds: int, *, device_kind: str = "cpu") -> UUID:
        """Add a live worker that has drawn images of a model in so many seconds each."""
        with self.database.write() as session:
            now = self.database.now(session)
            worker = add_worker(session, device_kind=device_kind, started_at=now)
            worker.model, worker.queue = model, f"{device_kind}.{model}"
            sums = Measured(10, 10 * seconds * SECOND_NS, 10 * (seconds * 1_000) ** 2, 0)
            record_rates(session, worker.id, model, {TINY: sums}, now)
            return worker.id

    def claim_all(self, batch_id: UUID, worker_id: UUID) -> int:
        """Have a worker take all that was sent, and draw it; returns how many images."""
        drawn = 0
        with self.database.write() as session:
            now = self.database.now(session)
            sent = {j.chunk_id for j in jobs_of(session, batch_id) if j.state == JobState.PENDING}
            for chunk_id in sent - {None}:
                assert chunk_id is not None
                for lease in claim_chunk(session, chunk_id, worker_id, now, LEASE):
                    drawn += record_done(session, lease, IMAGE, TIMES, {}, now)
        return drawn

    def control(self, batch_id: UUID, control: BatchControl) -> None:
        with self.database.write() as session:
            set_control(session, session.get_one(Batch, batch_id), control)

    @property
    def url(self) -> URL:
        return self.database.engine.url

    def ask(self, *models: str, device_kind: str = "cpu") -> float | None:
        return ask(self.url, query_of(models, device_kind))


@pytest.fixture
def fleet(postgres_database: Database, broker: Broker, queue_settings: Settings) -> Fleet:
    with postgres_database.write() as session:
        add_price(session)
    return Fleet(postgres_database, broker, queue_settings)


@pytest.fixture
def dispatcher(database: Database, broker: Broker, queue_settings: Settings) -> Dispatcher:
    return Dispatcher(database, broker, queue_settings)


def rows(database: Database) -> dict[Pool, tuple[int, int, int]]:
    """Return jobs, nanoseconds and unrated jobs by pool."""
    with database.read() as session:
        found = session.scalars(select(BacklogRow)).all()
    return {
        Pool(row.device_kind, row.model): (row.jobs, row.device_ns, row.unrated_jobs)
        for row in found
    }


def test_the_query_says_what_was_submitted_in_device_seconds(
    fleet: Fleet, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSTEP_DATABASE_URL", fleet.url.render_as_string(hide_password=False))
    shell.json("submit", write("p.txt", "a dog", "a cat", "a hen"))
    with fleet.database.read() as session:
        model = session.scalars(select(Batch.model)).one()
    fleet.measured(model, 2)

    fleet.tick()

    with fleet.database.snapshot() as session:
        now = fleet.database.now(session)
        backlog = read_backlog(session, live_kinds(session, now, LEASE))
    assert backlog.device_ns == {Pool("cpu", model): 6 * SECOND_NS}
    assert fleet.ask(model) == 6


def test_models_of_a_pool_add_up_and_kinds_are_alternatives(fleet: Fleet) -> None:
    fleet.submit(7)
    fleet.submit(5, "other/model")
    fleet.measured("tiny", 2)
    fleet.measured("tiny", 1, device_kind="cuda")
    fleet.measured("other/model", 3)

    fleet.tick()

    assert fleet.ask("tiny") == 14
    assert fleet.ask("tiny", device_kind="cuda") == 7
    assert fleet.ask("tiny", "other/model") == 14 + 15
    assert fleet.ask("nobody's model") == 0


def test_what_nobody_has_measured_calls_for_a_worker_all_the_same(fleet: Fleet) -> None:
    fleet.submit(3)
    fleet.submit(2, "other/model")

    fleet.tick()
    assert fleet.ask("tiny") == 3, "no worker serves it"
    assert fleet.ask("tiny", "other/model") == 5

    fleet.measured("tiny", 4, device_kind="cuda")
    fleet.tick()
    assert fleet.ask("tiny") == 3, "another kind has been measured"
    assert fleet.ask("tiny", device_kind="cuda") == 12

    with fleet.database.write() as session:
        add_worker(session, started_at=fleet.database.now(session))
    fleet.tick()
    assert fleet.ask("tiny") == 3, "a worker serves it that has drawn nothing"


def test_nothing_is_called_for_by_what_is_paused_or_done(fleet: Fleet) -> None:
    worker_id = fleet.measured("tiny", 2)
    batch_id = fleet.submit(3)
    fleet.control(batch_id, BatchControl.PAUSED)
    fleet.tick()
    assert fleet.ask("tiny") == 0

    fleet.control(batch_id, BatchControl.ACTIVE)
    fleet.tick()
    assert fleet.ask("tiny") == 6

    assert fleet.claim_all(batch_id, worker_id) == 3
    fleet.tick()
    assert fleet.ask("tiny") == 0


def test_what_workers_hold_counts_until_it_is_drawn(fleet: Fleet) -> None:
    worker_id = fleet.measured("tiny", 2)
    batch_id = fleet.submit(4)
    fleet.tick()
    with fleet.database.write() as session:
        (chunk_id,) = {job.chunk_id for job in jobs_of(session, batch_id)}
        assert chunk_id is not None
        now = fleet.database.now(session)
        leases = claim_chunk(session, chunk_id, worker_id, now, LEASE)
        record_done(session, leases[0], IMAGE, TIMES, {}, now)

    fleet.tick()

    assert fleet.ask("tiny") == 3 * 2


def test_when_no_dispatcher_has_written_for_a_minute_the_answer_is_an_error(fleet: Fleet) -> None:
    assert fleet.ask("tiny") is None, "nobody has ever written"
    fleet.submit(3)
    fleet.tick()
    assert fleet.ask("tiny") == 3

    with fleet.database.write() as session:
        a_minute_ago = fleet.database.now(session) - 60 * SECOND
        session.execute(update(BacklogRow).values(written_at=a_minute_ago))
    assert fleet.ask("tiny") is None

    fleet.tick()
    assert fleet.ask("tiny") == 3


def test_a_fleet_grows_from_nothing_and_falls_to_nothing_as_images_are_drawn(fleet: Fleet) -> None:
    batch_id = fleet.submit(30)
    fleet.tick()
    replicas = [desired_replicas(fleet.ask("tiny"), target=16)]
    worker_id = fleet.measured("tiny", 2)
    fleet.tick()
    replicas.append(desired_replicas(fleet.ask("tiny"), target=16))
    while fleet.claim_all(batch_id, worker_id):
        fleet.tick()
        replicas.append(desired_replicas(fleet.ask("tiny"), target=16))

    # 30 jobs of a second each, as nobody knows better; then of two; then 12 fewer each time.
    assert replicas == [2, 4, 3, 1, 0]


@pytest.fixture
def reader(fleet: Fleet) -> Iterator[URL]:
    """A role that may read one table."""
    role, password = f"keda_{secrets.token_hex(4)}", secrets.token_hex(8)
    database = fleet.url.database
    with fleet.database.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'"))
        connection.execute(text(f'GRANT CONNECT ON DATABASE "{database}" TO {role}'))
        connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {role}"))
        connection.execute(text(f"GRANT SELECT ON backlog TO {role}"))
    yield fleet.url.set(username=role, password=password)
    with fleet.database.engine.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))


def test_a_role_that_may_read_that_table_alone_is_enough(fleet: Fleet, reader: URL) -> None:
    fleet.submit(3)
    fleet.tick()

    assert ask(reader, query_of(["tiny"], "cpu")) == 3
    for forbidden in ("SELECT 1.0 FROM job", "DELETE FROM backlog"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(reader, forbidden)


def test_the_query_is_one_statement_whose_placeholders_the_chart_knows() -> None:
    query = QUERY.read_text("utf-8")

    assert set(PLACEHOLDER.findall(query)) == {"models", "device_kind"}
    assert ";" not in query.partition("*/")[2]
    assert "--" not in query, "whoever folds its lines would comment out the rest"


def test_names_with_quotes_are_only_names(fleet: Fleet) -> None:
    fleet.submit(2, "o'brien's')) --")
    fleet.tick()

    assert fleet.ask("o'brien's')) --", "tiny") == 2


# The table, on both databases


def test_the_table_is_written_anew_every_ten_seconds(
    dispatcher: Dispatcher, database: Database
) -> None:
    def written_at() -> set[object]:
        with database.read() as session:
            return set(session.scalars(select(BacklogRow.written_at)))

    with database.write() as session:
        add_batch(session, jobs=3)
    dispatcher.tick(START)
    assert rows(database) == {Pool(ALL, ALL): (3, 0, 0), Pool(UNKNOWN, "tiny"): (3, 0, 3)}

    with database.write() as session:
        add_batch(session, jobs=4)
    dispatcher.tick(START + 9 * SECOND)
    assert written_at() == {START}

    dispatcher.tick(START + 10 * SECOND)
    assert rows(database) == {Pool(ALL, ALL): (7, 0, 0), Pool(UNKNOWN, "tiny"): (7, 0, 7)}
    dispatcher.tick(START + 20 * SECOND)
    assert written_at() == {START + 20 * SECOND}, "though nothing has changed"

    with database.write() as session:
        session.execute(update(Batch).values(control=BatchControl.PAUSED))
    dispatcher.tick(START + 30 * SECOND)
    assert rows(database) == {Pool(ALL, ALL): (0, 0, 0)}


def test_a_dispatcher_that_looks_on_or_serves_one_batch_writes_nothing(
    dispatcher: Dispatcher, database: Database, broker: Broker, queue_settings: Settings
) -> None:
    with database.write() as session:
        batch_id = add_batch(session, jobs=3).id
    of_a_render = Dispatcher(database, broker, queue_settings, only_batch=batch_id)
    of_a_render.tick(START)
    assert rows(database) == {}

    dispatcher.tick(START)
    with database.write() as session:
        add_batch(session, jobs=4)
    Dispatcher(database, broker, queue_settings).tick(START + SECOND)
    assert rows(database)[Pool(ALL, ALL)] == (3, 0, 0)
