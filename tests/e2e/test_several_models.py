"""One worker's process serves two models, of which one at a time is in its memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.db.batches import count_jobs, find_batch
from support.books import opened_books
from support.commands import running, tenstep, tenstep_json, wait_until
from support.tiny_model import write_tiny_model

pytestmark = pytest.mark.timeout(300)
JOBS = 12


def done(environment: dict[str, str], batch: str) -> int:
    with opened_books(environment) as database, database.read() as session:
        found = count_jobs(session, find_batch(session, batch).id)
    return {str(state): count for state, count in found.items()}["done"]


def test_a_worker_of_two_models_draws_a_batch_of_each(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    models = [
        str(write_tiny_model(tmp_path / name, name=name, seed=seed))
        for seed, name in enumerate(("tiny", "other"))
    ]
    # Chunks of both wait, and each time that the worker turns to the other it has to load it.
    environment = {
        **stack_env,
        "TENSTEP_MODEL_MEMORY_BYTES": "1",
        "TENSTEP_CHUNK_SIZE": "2",
        "TENSTEP_LOOK_AHEAD": "10",
    }
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"a pear number {i}\n" for i in range(JOBS)), "utf-8")
    submitted = [
        tenstep_json(environment, "submit", str(prompts), "--model", model, cwd=tmp_path)
        for model in models
    ]
    batches = [str(one["batch_id"]) for one in submitted]
    arguments = [word for model in models for word in ("--model", model)]
    with running(environment, "up", "--no-serve", *arguments, cwd=tmp_path):
        wait_until(lambda: all(done(environment, batch) == JOBS for batch in batches))
        [worker] = tenstep_json(environment, "workers", "list", cwd=tmp_path)["workers"]
        listed = tenstep(environment, "workers", "list", cwd=tmp_path)
    assert [served["model"] for served in worker["models"]] == ["tiny", "other"]
    assert sum(served["is_loaded"] for served in worker["models"]) == 1
    assert "(not loaded)" in listed.stdout

    loads = 0
    for batch, model in zip(batches, ("tiny", "other"), strict=True):
        bill = tenstep_json(environment, "cost", batch, cwd=tmp_path)
        lines = {line["kind"]: line["count"] for line in bill["lines"]}
        assert lines["render"] == JOBS
        loads += lines.get("model_load", 0)
        out = tmp_path / f"out of {model}"
        pulled = tenstep(environment, "pull", batch, "--out", str(out), cwd=tmp_path)
        assert pulled.returncode == 0, pulled.stderr
        assert len(list(out.glob("[0-9]*.png"))) == JOBS
    assert 2 <= loads <= 4, "chunks of one model come in a row"
    assert tenstep_json(environment, "cost", "reconcile", cwd=tmp_path)["holds"]
