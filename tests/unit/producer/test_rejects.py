"""What was refused can be mended from the file of rejects alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from producer.prompt_files import open_prompts
from producer.rejects import RejectedLine, RejectLog, first_reason
from shared.domain.prompts import PromptRequest


def test_the_file_has_the_whole_line_and_the_terminal_its_beginning(tmp_path: Path) -> None:
    line = json.dumps({"prompt": "a", "seed": -1, "note": "x" * 1_000_000})
    (tmp_path / "p.jsonl").write_text(f'{{"prompt": "a"}}\n{line}\n', "utf-8")
    log = RejectLog("p.jsonl", tmp_path / "rejects" / "of-it.jsonl")
    with open_prompts(str(tmp_path / "p.jsonl")) as source:
        for read in source.lines:
            if isinstance(read, RejectedLine):
                log.add(read)
    rejects = log.close()

    assert rejects.path is not None
    [written] = map(json.loads, rejects.path.read_text("utf-8").splitlines())
    assert written == {
        "source": "p.jsonl",
        "line_number": 2,
        "field": "seed",
        "reason": "must be greater than or equal to 0",
        "raw": line,
    }
    [shown] = rejects.to_json()["first"]
    assert shown["raw"] == line[:2_000]


def test_a_second_use_of_an_id_is_listed_as_it_was_written(tmp_path: Path) -> None:
    line = '{"custom_id":"x",  "prompt":"b"}'
    (tmp_path / "p.jsonl").write_text(f'{{"prompt": "a", "custom_id": "x"}}\n{line}', "utf-8")

    with open_prompts(str(tmp_path / "p.jsonl")) as source:
        _, reject = source.lines

    assert isinstance(reject, RejectedLine)
    assert reject.raw == line


def test_a_log_without_rejects_leaves_no_file(tmp_path: Path) -> None:
    rejects = RejectLog("p.txt", tmp_path / "rejects.jsonl").close()

    assert (rejects.count, rejects.path) == (0, None)
    assert not list(tmp_path.iterdir())


def test_a_control_character_is_named_with_its_place() -> None:
    with pytest.raises(ValidationError) as caught:
        PromptRequest(prompt="ab\x07")

    assert first_reason(caught.value) == ("prompt", "control character U+0007 at character 3")
