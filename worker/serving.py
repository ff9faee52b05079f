"""Models into a device's memory when a chunk of theirs has its turn, and into the books."""

from __future__ import annotations

from functools import partial
from traceback import clear_frames
from uuid import UUID

import structlog

from shared.db.ledger import charge_model_load
from shared.db.model_tables import ModelLoad
from shared.db.served_models import note_kept, note_loaded
from shared.db.tables import Worker
from shared.domain.identifiers import new_id
from worker.model_cache import LoadedModel
from worker.patience import patiently
from worker.retry import DeviceLostError, is_device_lost
from worker.runtime import Runtime, listed_sizes

log = structlog.get_logger()


def load_model(runtime: Runtime, name: str, batch_id: UUID) -> Exception | None:
    """Have a model in memory; if it has to be loaded, the batch that asks for it pays for that.

    The caller has the device's turn. What makes way meanwhile is written down, too.

    Returns:
        Why it does not load, if that ends the attempts at the jobs that need it.

    Raises:
        DeviceLostError: the device is lost.
    """
    if name in runtime.models.in_memory:
        return None
    runtime.in_hand.begin()
    try:
        model = runtime.models.load(name)
    except Exception as error:
        if is_device_lost(error):
            raise DeviceLostError(str(error)) from error
        log.exception("model_not_loaded", model=name)
        # Else what was loaded would stay in memory for as long as the error lives.
        clear_frames(error.__traceback__)
        _note_dropped(runtime)
        return error
    finally:
        runtime.in_hand.end()
    log.info("model_loaded", model=name, load_ms=model.load_ns // 10**6)
    book = partial(_book, runtime, model, batch_id, new_id())
    patiently(book, runtime.settings.outage_patience_seconds)
    return None


def make_way(runtime: Runtime) -> bool:
    """Drop all models but the one that is drawn with; returns whether there were any."""
    if not runtime.models.drop_all_but(runtime.model.name):
        return False
    _note_dropped(runtime)
    return True


def _note_dropped(runtime: Runtime) -> None:
    def note() -> None:
        with runtime.database.write() as session:
            note_kept(session, runtime.worker_id, runtime.models.in_memory)

    patiently(note, runtime.settings.outage_patience_seconds)


def _book(runtime: Runtime, model: LoadedModel, batch_id: UUID, load_id: UUID) -> None:
    """Write down a load; a second time, after an outage, adds nothing."""
    with runtime.database.write() as session:
        if session.get(ModelLoad, load_id) is not None:
            return
        now = runtime.database.now(session)
        note_kept(session, runtime.worker_id, runtime.models.in_memory)
        note_loaded(
            session,
            runtime.worker_id,
            model.name,
            weights_sha256=model.drawn_by.weights_sha256,
            sizes=listed_sizes(model),
            load_ns=model.load_ns,
            now=now,
        )
        load = ModelLoad(
            id=load_id,
            worker_id=runtime.worker_id,
            batch_id=batch_id,
            model=model.name,
            loaded_at=now,
            load_ns=model.load_ns,
        )
        session.add(load)
        worker = session.get_one(Worker, runtime.worker_id)
        charge_model_load(session, worker, batch_id, load.load_ns, now, later=load)
