"""A script that knows nothing but the ``openai`` package, and a server with the small model."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from support.commands import running, tenstep_json

pytestmark = pytest.mark.timeout(300)


def test_upload_submit_poll_download_and_decode(stack_env: dict[str, str], tmp_path: Path) -> None:
    key = tenstep_json(stack_env, "keys", "create", "--tenant", "studio", cwd=tmp_path)["secret"]
    with (
        running(stack_env, "up", "--port", "0", "--json", cwd=tmp_path) as server,
        openai.OpenAI(base_url=f"{_url(server)}/v1", api_key=key) as client,
    ):
        images, errors = _draw_batch(client)
        one = client.images.generate(
            prompt="a red apple", response_format="b64_json", extra_body={"seed": 7, "steps": 12}
        )

    assert {name: len(found) for name, found in images.items()} == {"apple": 1, "pears": 2}
    assert {image.size for found in images.values() for image in found} == {(64, 64)}
    assert [line["custom_id"] for line in errors] == ["too many"]
    assert one.data is not None
    assert _opened(base64.b64decode(one.data[0].b64_json or "")).size == (64, 64)
    assert one.usage is not None
    assert (one.usage.model_extra or {})["device_seconds"] > 0


def _draw_batch(client: openai.OpenAI) -> tuple[dict[str, list[Image.Image]], list[Any]]:
    lines = [
        _line("apple", prompt="a red apple", response_format="b64_json"),
        _line("pears", prompt="a green pear", n=2, size="64x64", seed=3),
        _line("too many", prompt="plums", n=1_000),
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("requests.jsonl", content), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/images/generations", completion_window="24h"
    )
    while batch.status not in {"completed", "failed", "expired", "cancelled"}:
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 3, "completed": 2, "failed": 1}
    assert batch.usage is not None
    assert (batch.usage.model_extra or {})["device_seconds"] > 0
    outputs, errors = (
        [json.loads(line) for line in client.files.content(file_id).text.splitlines()]
        for file_id in (batch.output_file_id or "", batch.error_file_id or "")
    )
    images = {
        line["custom_id"]: [_image(image) for image in line["response"]["body"]["data"]]
        for line in outputs
    }
    return images, errors


def _line(custom_id: str, **body: Any) -> dict[str, Any]:
    url = "/v1/images/generations"
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def _image(image: dict[str, str]) -> Image.Image:
    if "b64_json" in image:
        return _opened(base64.b64decode(image["b64_json"]))
    return _opened(httpx.get(image["url"], follow_redirects=True).content)


def _opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


def _url(server: subprocess.Popen[str]) -> str:
    """Read where a server answers from the first thing that it says."""
    assert server.stdout is not None
    started = json.loads(server.stdout.readline())
    found = re.search(r"http://[0-9.:]+", started["message"])
    assert found is not None
    return found[0]
