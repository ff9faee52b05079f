"""What is wrong is said in one line, with exit code 2, and changes nothing."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from support.commands import processes_of, tenstep, tenstep_json
from support.tiny_model import write_tiny_model
from worker.models.weights import WEIGHTS

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.parametrize("stack_env", ["local"], indirect=True),
]


@pytest.fixture
def environment(stack_env: dict[str, str]) -> dict[str, str]:
    return stack_env


def refused(environment: dict[str, str], cwd: Path, *arguments: str) -> str:
    done = tenstep(environment, "render", *arguments, cwd=cwd)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not processes_of(Path(environment["TENSTEP_DATA_DIR"]))
    batches = tenstep_json(
        {k: v for k, v in environment.items() if not k.startswith("TENSTEP_REDIS")},
        "status",
        "--all",
        cwd=cwd,
    )
    assert batches["batches"] == []
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_a_missing_file(environment: dict[str, str], tmp_path: Path) -> None:
    assert "nowhere.txt: no such file" in refused(environment, tmp_path, "nowhere.txt")


def test_an_empty_file(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    assert "empty.txt" in refused(environment, tmp_path, "empty.txt")


def test_a_csv_without_a_prompt_column(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,seed\na dog,1\n", "utf-8")
    line = refused(environment, tmp_path, "x.csv")
    assert "x.csv:1" in line
    assert "prompt" in line


def test_an_out_folder_that_cannot_be_written(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a dog\n", "utf-8")
    (tmp_path / "file").touch()
    assert "file" in refused(environment, tmp_path, "p.txt", "--out", "file/out")


def test_a_redis_url_that_does_not_answer(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a dog\n", "utf-8")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        url = f"redis://:secret@127.0.0.1:{port}/0"
        line = refused({**environment, "TENSTEP_REDIS_URL": url}, tmp_path, "p.txt")
    assert f"127.0.0.1:{port}" in line
    assert "secret" not in line


def test_a_port_in_use(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a dog\n", "utf-8")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        line = refused({**environment, "TENSTEP_REDIS_PORT": port}, tmp_path, "p.txt")
    assert f"port {port} is in use" in line


def test_the_good_lines_of_a_partly_bad_file_are_drawn_and_the_bad_are_listed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "mixed.jsonl").write_text(
        '{"prompt": "a red apple"}\n{"prompt": "broken\n{"prompt": "a dog", "seed": -1}\n'
        '{"prompt": "a rocket"}\n',
        "utf-8",
    )
    done = tenstep(environment, "render", "mixed.jsonl", "--out", "out", cwd=tmp_path)

    assert done.returncode == 2, done.stdout + done.stderr
    assert "mixed.jsonl:2: " in done.stderr
    assert "mixed.jsonl:3: seed: " in done.stderr
    manifest = (tmp_path / "out" / "manifest.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["prompt"] for line in manifest] == ["a red apple", "a rocket"]
    assert len(list((tmp_path / "out").glob("[0-9]*.png"))) == 2


def test_a_model_whose_weights_are_cut_short(environment: dict[str, str], tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model")
    weights = model / "flexible_unet" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:1000])

    done = tenstep(environment, "render", "a dog", "--model", str(model), cwd=tmp_path)

    assert done.returncode == 2, done.stdout + done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert str(weights) in line
    assert not processes_of(Path(environment["TENSTEP_DATA_DIR"]))
