"""The models of workers from before there were several, and rates of before."""

from __future__ import annotations

from sqlalchemy import select

from shared.db.engine import Database
from shared.db.migrate import downgrade, migrate
from shared.db.model_tables import WorkerModel
from shared.db.pass_rates import pass_rates, record_passes
from shared.db.rates import read_rates, record_rates
from shared.db.tables import Worker
from shared.domain.pass_rates import MeasuredPasses, PassSize
from shared.domain.rates import Measured, Shape
from support.factories import START, add_worker

SHAPE = Shape(64, 64, 10, is_guided=True)
BEFORE = "0014"


def test_workers_and_rates_of_before_are_those_of_the_one_model_that_a_worker_had(
    database_url: str,
) -> None:
    database = Database(database_url)
    migrate(database)
    measured = {SHAPE: Measured(images=2, device_ns=200, device_ms_squared=0, wall_ns=300)}
    passes = {PassSize(SHAPE, 2): MeasuredPasses.of(2, 200, 7)}
    with database.write() as session:
        worker = add_worker(session)
        worker.load_ns, worker.weights_sha256, worker.sizes = 5, "aa", [[64, 64]]
        for model in (worker.model, "other"):
            record_rates(session, worker.id, model, measured, START)
            record_passes(session, worker.id, model, passes, START)

    downgrade(database, BEFORE)
    migrate(database)

    with database.read() as session:
        [worker] = session.scalars(select(Worker))
        [row] = session.scalars(select(WorkerModel))
        [rate] = read_rates(session, "tiny")
        assert pass_rates(session, "tiny", "cpu", "a device", SHAPE) == {2: 100}
        assert not read_rates(session, "other"), "an older version has no place for them"
    assert (row.worker_id, row.model, row.queue) == (worker.id, "tiny", "cpu.tiny")
    assert (row.weights_sha256, row.sizes, row.load_ns) == ("aa", [[64, 64]], 5)
    assert row.loaded_at == worker.started_at
    assert (rate.images, rate.device_ns, rate.load_ns) == (2, 100, 5)
    database.close()
