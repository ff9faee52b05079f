from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.openai_lines import custom_id_in
from producer.prompt_files import open_prompts
from producer.prompt_format import PromptFormat
from producer.prompt_lines import AcceptedLine, PromptLine, line_groups
from producer.prompt_openai import RESPONSE_FORMAT, parse_openai
from producer.rejects import RejectedLine

MODEL = "studio/toy@abc"
GOOD: dict[str, Any] = {
    "custom_id": "one",
    "method": "POST",
    "url": "/v1/images/generations",
    "body": {"prompt": "a red apple"},
}


def parse(*lines: object, model: str | None = MODEL) -> list[PromptLine]:
    text = b"\n".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
    )
    return [line for group in parse_openai(line_groups(iter([text])), model) for line in group]


def good(**body: object) -> dict[str, Any]:
    return {**GOOD, "body": {**GOOD["body"], **body}}


def test_a_request_becomes_a_prompt_with_what_it_asks_for() -> None:
    [line] = parse(
        good(
            model="studio/toy",
            n=2,
            size="64x128",
            seed=7,
            steps=16,
            squeeze="10,6",
            negative_prompt="blue",
            guidance_scale=3.5,
            scheduler="dpmsolver++",
        )
    )
    assert isinstance(line, AcceptedLine)
    request = line.request
    assert (request.custom_id, request.prompt, request.n) == ("one", "a red apple", 2)
    assert (request.width, request.height) == (64, 128)
    assert (request.seed, request.steps, request.squeeze) == (7, 16, "10,6")
    assert (request.negative_prompt, request.guidance_scale) == ("blue", 3.5)
    assert request.metadata == {}


def test_what_is_not_ours_is_ignored() -> None:
    [line] = parse({**good(user="me", quality="hd", style={}, size="auto", n=None), "more": [1]})
    assert isinstance(line, AcceptedLine)
    assert line.request.model_dump(exclude_unset=True) == {
        "prompt": "a red apple",
        "custom_id": "one",
    }


def test_a_job_remembers_that_its_image_is_wanted_itself() -> None:
    [as_bytes, as_url] = parse(good(response_format="b64_json"), good(response_format="url"))
    assert isinstance(as_bytes, AcceptedLine)
    assert isinstance(as_url, AcceptedLine)
    assert as_bytes.request.metadata == {RESPONSE_FORMAT: "b64_json"}
    assert as_url.request.metadata == {}


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        (b"{", None, "is not JSON"),
        ([GOOD], None, "must be a JSON object"),
        (b'{"custom_id": "\xff"}', None, "is not UTF-8"),
        ({**GOOD, "custom_id": ""}, "custom_id", "at least 1 character"),
        ({**GOOD, "custom_id": "a\0"}, "custom_id", "control character U+0000"),
        ({k: v for k, v in GOOD.items() if k != "custom_id"}, "custom_id", "is missing"),
        ({**GOOD, "method": "GET"}, "method", "must be 'POST'"),
        ({**GOOD, "url": "/v1/embeddings"}, "url", "must be '/v1/images/generations'"),
        ({**GOOD, "body": []}, "body", "must be an object"),
        ({**GOOD, "body": {}}, "body.prompt", "is missing"),
        (good(prompt="a\nb"), "body.prompt", "control character"),
        (good(n=0), "body.n", "greater than or equal to 1"),
        (good(n=11), "body.n", "less than or equal to 10"),
        (good(size="64"), "body.size", "width and height"),
        (good(size="63x64"), "body.size", "multiples of 8"),
        (good(size="8192x8"), "body.size", "4096 at most"),
        (good(size="٦٤x64"), "body.size", "width and height"),
        (good(seed=-1), "body.seed", "greater than or equal to 0"),
        (good(steps="many"), "body.steps", "must be a valid integer"),
        (good(response_format="svg"), "body.response_format", "'url' or 'b64_json'"),
        (good(stream=True), "body.stream", "must be False"),
        (good(partial_images=2), "body.partial_images", "must be 0"),
        (good(model="toy"), "body.model", "the model of this batch is studio/toy@abc, not toy"),
    ],
)
def test_a_bad_line_is_rejected_with_its_field(line: object, field: str, reason: str) -> None:
    [rejected, accepted] = parse(line, {**GOOD, "custom_id": "two"})
    assert isinstance(rejected, RejectedLine)
    assert isinstance(accepted, AcceptedLine)
    assert rejected.field == field
    assert reason in rejected.reason


def test_any_model_may_be_named_where_none_is_known() -> None:
    [line] = parse(good(model="whatever"), model=None)
    assert isinstance(line, AcceptedLine)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from([*GOOD, "prompt", "n", "size", "seed", "model", "response_format"])
CHANGED = st.builds(
    lambda field, value: {**GOOD, field: value} if field in GOOD else good(**{field: value}),
    FIELDS,
    JSON,
)
LINES = st.one_of(
    st.just(GOOD),
    CHANGED,
    JSON,
    st.binary(max_size=20).filter(lambda line: b"\n" not in line),
)


@given(st.lists(LINES, max_size=12))
def test_every_line_that_is_not_blank_is_accepted_or_rejected_once(
    lines: Sequence[object],
) -> None:
    written = [
        line if isinstance(line, bytes) else json.dumps(line).encode("utf-8") for line in lines
    ]
    found = parse(*written)
    blank = {
        number
        for number, line in enumerate(written, 1)
        if not line.removeprefix(BOM_UTF8 if number == 1 else b"").decode(errors="replace").strip()
    }
    assert [line.line_number for line in found] == [
        number for number in range(1, len(written) + 1) if number not in blank
    ]
    for line in found:
        if isinstance(line, AcceptedLine):
            assert json.loads(written[line.line_number - 1])["custom_id"] == line.request.custom_id
        else:
            line.raw.encode()
            assert line.reason


@pytest.mark.parametrize(
    ("raw", "custom_id"),
    [
        ('{"custom_id": "a", "body": {"prompt": "cut he', "a"),
        ('{"custom_id": "a", "body"', "a"),
        ('{"custom_id": "a", oops', None),
        ('{"custom_id": "a", "body": 1}', "a"),
        ('{"custom_id": 7}', None),
        ('["custom_id"]', None),
        ("", None),
    ],
)
def test_the_id_of_a_rejected_line_is_told_where_it_can_be_read(
    raw: str, custom_id: str | None
) -> None:
    assert custom_id_in(raw) == custom_id


def test_a_file_of_requests_can_be_read_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD) + "\n", "utf-8")
    with open_prompts(str(path), prompt_format=PromptFormat.OPENAI, model=MODEL) as source:
        first, second = source.lines
    assert isinstance(first, AcceptedLine)
    assert isinstance(second, RejectedLine)
    assert second.reason == "'one' is already the id of line 1"
