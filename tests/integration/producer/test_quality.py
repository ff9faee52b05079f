"""A job's quality on its way: from a prompt line to its chunk, its image and its manifest."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import select

from producer.dispatch import Dispatcher
from producer.order import RefusedError
from shared.db.engine import Database
from shared.db.tables import Job
from shared.domain.fingerprint import image_fingerprint
from shared.domain.quality import Quality, Shortcuts
from shared.domain.rates import Shape
from shared.errors import ConfigurationError
from shared.messaging.broker import Broker
from shared.models.card import read_card
from shared.settings import Settings
from support.factories import START, add_batch, add_price, add_worker, jobs_of
from support.prompts import CARD, submit_text


def test_a_line_goes_before_the_batch_and_without_either_images_are_exact(
    database: Database, tmp_path: Path
) -> None:
    text = '{"prompt": "a", "quality": "fast"}\n{"prompt": "b"}'
    submitted = [
        submit_text(database, tmp_path, text, name="p.jsonl", quality="balanced"),
        submit_text(database, tmp_path, "d"),
    ]

    with database.read() as session:
        found = [job.quality for new in submitted for job in jobs_of(session, new.batch_id)]
    assert found == ["fast", "balanced", "exact"]


def test_a_quality_that_is_none_is_refused(sqlite_database: Database, tmp_path: Path) -> None:
    with pytest.raises(RefusedError):
        submit_text(sqlite_database, tmp_path, '{"prompt": "c", "quality": "good"}', name="p.jsonl")


def test_jobs_of_different_quality_share_no_chunk(
    database: Database, broker: Broker, queue_settings: Settings
) -> None:
    with database.write() as session:
        add_price(session, device_kind="cuda")
        batch_id = add_batch(session, jobs=4).id
        for job in jobs_of(session, batch_id)[1::2]:
            job.quality = Quality.FAST
        add_worker(session, device_kind="cuda", device_name="a device")

    Dispatcher(database, broker, queue_settings).tick(START)

    chunks = defaultdict(set)
    with database.read() as session:
        for job in session.scalars(select(Job)):
            chunks[job.chunk_id].add(job.quality)
    assert sorted(map(sorted, chunks.values())) == [["exact"], ["fast"]]


def test_images_of_different_quality_are_not_the_same(database: Database, tmp_path: Path) -> None:
    text = '{"prompt": "a", "seed": 1}\n{"prompt": "a", "seed": 1, "quality": "fast"}'
    new = submit_text(database, tmp_path, text, name="p.jsonl")

    with database.read() as session:
        prints = {image_fingerprint(job, "weights", None) for job in jobs_of(session, new.batch_id)}
    assert len(prints) == 2


def test_a_shortened_image_is_not_taken_for_an_exact_one() -> None:
    exact = Shape.of(64, 64, 16, "10,6", 7.5)

    shortened = [Shape.of(64, 64, 16, "10,6", 7.5, quality) for quality in Quality]

    assert shortened[0] == exact
    assert exact.work > shortened[1].work > shortened[2].work


def card(tmp_path: Path, quality: dict[str, Any]) -> Path:
    document = {**CARD.model_dump(mode="json", exclude={"folder"}), "quality": quality}
    (tmp_path / "tenstep.json").write_text(json.dumps(document), "utf-8")
    return tmp_path


def test_a_card_says_what_its_own_images_are_drawn_without(tmp_path: Path) -> None:
    own = read_card(card(tmp_path, {"balanced": {"feature_reuse": 3}})).qualities

    assert own[Quality.BALANCED] == Shortcuts(feature_reuse=3)
    assert own[Quality.EXACT] == Shortcuts()
    assert own[Quality.FAST] == CARD.qualities[Quality.FAST]


@pytest.mark.parametrize(
    "wrong",
    [
        {"exact": {"feature_reuse": 2}},
        {"fast": {"feature_reuse": 0}},
        {"fast": {"guidance_interval": [5, 1]}},
        {"poor": {}},
    ],
)
def test_a_card_with_shortcuts_that_are_none_is_refused(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match="quality"):
        read_card(card(tmp_path, wrong))


def test_an_interval_has_to_rise() -> None:
    with pytest.raises(ValidationError, match="is above"):
        Shortcuts(guidance_interval=(2.0, 1.0))
