"""Errors for the user, and model cards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.errors import (
    ConfigurationError,
    InputError,
    PermanentRenderError,
    ServiceUnavailableError,
    TenstepError,
    TransientRenderError,
)
from shared.messaging.contracts import RenderChunk, TaskName, queue_name
from shared.models.catalog import CARD, load_card

A_CARD = {
    "name": "tiny",
    "title": "A tiny model",
    "licence": "Apache-2.0",
    "width": 64,
    "height": 64,
    "sampler": {
        "steps": 16,
        "squeeze": "10,6",
        "guidance_scale": 7.5,
        "guidance_rescale": 0.8,
    },
    "max_prompt_tokens": 77,
}


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (InputError, 2),
        (ConfigurationError, 2),
        (ServiceUnavailableError, 2),
        (TransientRenderError, 1),
        (PermanentRenderError, 1),
    ],
)
def test_an_error_has_a_sentence_a_hint_and_an_exit_code(
    error: type[TenstepError], exit_code: int
) -> None:
    raised = error("it broke", hint="mend it")

    assert (str(raised), raised.hint, raised.exit_code) == ("it broke", "mend it", exit_code)


def test_the_model_that_ships_has_a_card() -> None:
    card = load_card("emoji-64")

    assert (card.name, card.width, card.height) == ("emoji-64", 64, 64)
    assert (card.folder / CARD).is_file()


def test_a_model_is_found_by_its_folder(tmp_path: Path) -> None:
    (tmp_path / CARD).write_text(json.dumps(A_CARD | {"a later field": 1}))

    assert load_card(str(tmp_path)).name == "tiny"


def test_a_model_that_is_not_there_is_told_which_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="emoji-64"):
        load_card(str(tmp_path / "none"))


def test_a_broken_card_names_the_field(tmp_path: Path) -> None:
    (tmp_path / CARD).write_text(json.dumps(A_CARD | {"width": 63}))

    with pytest.raises(ConfigurationError, match="width: "):
        load_card(str(tmp_path))


def test_a_card_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / CARD).write_text("{")

    with pytest.raises(ConfigurationError, match=CARD):
        load_card(str(tmp_path))


def test_a_message_of_the_first_version_can_still_be_read() -> None:
    wire = {
        "version": 1,
        "chunk_id": "01a20693-bc38-744c-af5b-80b2bb8831f1",
        "batch_id": "01a20693-bc35-74f5-99f9-9b2a6a6a9e00",
    }

    assert RenderChunk.model_validate(wire).model_dump(mode="json") == wire
    assert TaskName.RENDER_CHUNK == "tenstep.render_chunk"


@pytest.mark.parametrize(
    ("model", "name"),
    [("emoji-64", "cuda.emoji-64"), ("some/model v2", "cuda.some--model-v2")],
)
def test_a_queue_serves_one_device_kind_and_one_model(model: str, name: str) -> None:
    assert queue_name("cuda", model) == name
