from __future__ import annotations

import pytest

from shared.db.engine import Database
from support.scene import Scene


@pytest.fixture
def scene(database: Database) -> Scene:
    return Scene.made(database)
