from __future__ import annotations

import pytest

from shared.db.engine import Database
from support.factories import (
    add_batch,
    add_price,
    add_worker,
    dispatch,
)
from support.scene import Scene


@pytest.fixture
def scene(database: Database) -> Scene:
    with database.write() as session:
        add_price(session)
        worker_id = add_worker(session).id
        batch_id = add_batch(session, jobs=3).id
        chunk_id = dispatch(session, batch_id)
    return Scene(database, batch_id, chunk_id, worker_id)
