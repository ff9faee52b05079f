"""Commands through a server: what they print is what they print beside its database."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from producer.client import Client
from support.api import ApiServer
from support.shell import Shell

LINES = [
    '{"prompt": "a red apple", "custom_id": "apple"}',
    '{"prompt": 3}',
    '{"prompt": "a green pear", "seed": 7, "width": 128, "colour": "green"}',
]
IMPORTED_BY_NO_LIGHT_COMMAND = {"sqlalchemy", "celery", "boto3", "alembic", "torch"}


@pytest.fixture(scope="module")
def drawn(api: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A batch whose images are there; a line of its file was refused."""
    file = tmp_path_factory.mktemp("prompts") / "fruit.jsonl"
    file.write_text("\n".join(LINES))
    with Client(api.url) as client, api.drawing():
        batch_id = client.submit(file=file, tags={"campaign": "spring"}, max_cost_usd="5").batch_id
        assert client.wait(batch_id).counts["done"] == 2  # type: ignore[index]
    return str(batch_id)


@pytest.fixture
def remote(shell: Shell, api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Commands in an empty folder, through the server."""
    monkeypatch.setenv("TENSTEP_SERVER", api.url)
    return shell


@pytest.fixture
def beside(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands work with the server's own database."""
    monkeypatch.delenv("TENSTEP_SERVER", raising=False)
    monkeypatch.setenv("TENSTEP_DATA_DIR", str(api.settings.data_dir))


def write(name: str, *lines: str) -> str:
    Path(name).write_text("\n".join(lines), "utf-8")
    return name


def manifest(folder: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "manifest.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "command",
    [
        "status BATCH",
        "status BATCH --json",
        "status --all",
        "status --all --json",
        "jobs BATCH",
        "jobs BATCH --json",
        "jobs BATCH --text PEAR --limit 1",
        "jobs BATCH --limit 1",
        "jobs BATCH --error nothing",
        "show apple --batch BATCH",
        "show 1 --batch BATCH --json",
        "cost BATCH",
        "cost BATCH --json",
        "cost --by batch",
        "cost --by model --json",
        "cost --by day --limit 1",
        "cost --by worker --csv -",
        "cost BATCH --by device",
        "cost --by tag --tag campaign=spring --json",
        "budget BATCH",
        "budget BATCH --json",
        "prices list",
        "prices list --all --json",
        "prices export",
        "quote fruit.jsonl",
        "quote fruit.jsonl --json",
        "quote --template {a} --var a=b,c --steps 12 --json",
    ],
)
def test_a_command_prints_the_same_through_a_server(
    shell: Shell, api: ApiServer, drawn: str, beside: None, command: str
) -> None:
    write("fruit.jsonl", *LINES)
    arguments = [drawn if word == "BATCH" else word for word in command.split()]
    local = shell(*arguments), shell.out, shell.err

    through = shell("--server", api.url, *arguments), shell.out, shell.err

    assert through == local
    assert through[0] == (2 if "fruit.jsonl" in command else 0), shell.err


def test_a_folder_is_pulled_as_from_the_store(
    shell: Shell, api: ApiServer, drawn: str, beside: None
) -> None:
    assert shell("pull", drawn, "--to", "here") == 0
    assert shell("--server", api.url, "pull", drawn, "--to", "through", "--parallel", "2") == 0

    assert shell.out == "2 of 2 images in through, 2 of them new\n"
    names = sorted(path.name for path in Path("here").iterdir())
    assert sorted(path.name for path in Path("through").iterdir()) == names
    names.remove("manifest.jsonl")
    for name in names:
        assert Path("through", name).read_bytes() == Path("here", name).read_bytes(), name
    assert manifest("through") == manifest("here")
    again = shell.json("--server", api.url, "pull", drawn, "--to", "through")
    assert (again["images"], again["written"], again["contact_sheet"]) == (
        2,
        0,
        "through/contact-sheet.png",
    )


def test_a_damaged_image_is_fetched_again_and_a_manifest_can_come_alone(
    remote: Shell, drawn: str
) -> None:
    assert remote("pull", drawn) == 0
    image = Path("renders/fruit/00000000-a-red-apple.png")
    good = image.read_bytes()
    image.write_bytes(b"damaged")

    assert remote.json("pull", drawn, "--manifest-only")["images"] == 1
    assert remote.json("pull", drawn, "--manifest", "none")["written"] == 1
    assert image.read_bytes() == good


@pytest.mark.parametrize(
    "more",
    [("--format", "webdataset"), ("--to", "s3://bucket/x"), ("--manifest", "parquet")],
)
def test_what_cannot_be_pulled_through_a_server_is_said(
    remote: Shell, drawn: str, more: tuple[str, ...]
) -> None:
    assert remote("pull", drawn, *more) == 2
    assert "over a server" in remote.err


def test_a_file_is_submitted_once_and_bad_lines_are_listed(remote: Shell) -> None:
    file = write("once.jsonl", *LINES, '{"prompt": "once"}')

    assert remote("submit", file) == 2
    first, rejects = remote.out, remote.err.splitlines()
    assert first.splitlines()[0].endswith(": 3 images of emoji-64 in the queue")
    assert rejects[0] == "once.jsonl:2: prompt: must be a valid string"
    assert rejects[1].startswith("1 line was left out; listed in ")
    [listed] = Path(rejects[1].rpartition(" ")[2]).read_text().splitlines()
    assert json.loads(listed)["line_number"] == 2

    assert remote("submit", file, "--json") == 2
    again = json.loads(remote.out)
    assert again["batch_id"] == first.split()[1].rstrip(":")
    assert again["rejected"]["count"] == 1

    assert remote("submit", file, "--priority", "5") == 2
    assert "--key" in remote.err


def test_bad_lines_can_refuse_the_whole_file(remote: Shell) -> None:
    file = write("all-or-none.jsonl", *LINES, '{"prompt": "abort"}')

    assert remote("submit", file, "--on-error", "abort") == 2
    assert "all-or-none.jsonl:2: prompt" in remote.err
    assert "error: all-or-none.jsonl: 1 lines are bad" in remote.err

    assert remote("submit", file) == 2
    assert "3 images" in remote.out


def test_what_is_no_prompt_file_is_told_like_anywhere(remote: Shell) -> None:
    assert remote("submit", "missing.txt") == 2
    assert "missing.txt: no such file" in remote.err
    assert remote("submit", write("empty.txt", "")) == 2
    assert "holds no prompt" in remote.err
    assert remote("submit", write("p.txt", "a"), "--model", "nobody") == 2
    assert "nobody" in remote.err
    assert remote("submit", write("p.txt", "a"), "--tenant", "other") == 2
    assert "--tenant" in remote.err


def test_prompts_come_from_standard_input(remote: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    piped = io.TextIOWrapper(io.BytesIO(b"from a pipe\n"))
    monkeypatch.setattr("sys.stdin", piped)

    submitted = remote.json("submit", "-", "--format", "text", "--name", "piped")

    assert (submitted["name"], submitted["total"]) == ("piped", 1)


def test_a_template_is_held_looked_at_and_decided_about(remote: Shell) -> None:
    held = remote.json(
        "submit", "--template", "a {c} cat", "--var", "c=red,blue,green", "--hold", "--sample", "1"
    )
    batch_id = held["batch_id"]
    counts = remote.json("status", batch_id)["counts"]
    assert (held["total"], counts["held"], counts["pending"]) == (3, 2, 1)

    assert remote("approve", batch_id[:20]) == 0
    assert remote.out == f"batch {batch_id}: 2 images no longer held\n"
    assert remote.json("pause", batch_id) == {"batch_id": batch_id, "control": "paused"}
    assert remote("resume", batch_id) == 0
    assert remote.out == f"batch {batch_id}: goes on\n"
    assert remote("budget", batch_id, "--max-cost", "0.5") == 0
    assert "$0.50" in remote.out
    assert remote.json("cancel", batch_id, "--job", "0") == {
        "batch_id": batch_id,
        "control": "active",
        "cancelled": 1,
    }
    assert remote.json("retry", batch_id, "--job", "0")["retried"] == 1
    assert remote("cancel", batch_id) == 0
    assert remote.out == f"batch {batch_id}: cancelled, 3 images of it not drawn\n"
    assert remote("watch", batch_id) == 0
    assert "3 cancelled" in remote.out


def test_a_batch_is_watched_to_its_end(remote: Shell, api: ApiServer) -> None:
    batch_id = remote.json("submit", write("watched.txt", "a", "b", "watched"))["batch_id"]

    with api.drawing():
        assert remote("watch", batch_id, "--json") == 0

    last = json.loads(remote.out.splitlines()[-1])
    assert (last["batch_id"], last["finished"], last["counts"]["done"]) == (batch_id, True, 3)


def test_the_newest_batch_is_meant_where_none_is_named(remote: Shell) -> None:
    newest = remote.json("submit", write("newest.txt", "the newest"))["batch_id"]

    assert remote.json("status")["batch_id"] == newest
    assert remote.json("jobs")["batch_id"] == newest


@pytest.mark.parametrize("reference", ["ffff", "nonsense", "0197f3a2-5c1e-7bb0-9f6e-1f2d3c4b5a69"])
def test_a_batch_that_is_not_there_is_told(remote: Shell, drawn: str, reference: str) -> None:
    assert remote("status", reference) == 2
    assert "no batch" in remote.err


def test_the_start_of_several_ids_is_told(remote: Shell, drawn: str) -> None:
    remote.json("submit", write("another.txt", "another"))

    assert remote("status", "0") == 2
    assert "several" in remote.err


@pytest.mark.parametrize(
    "command",
    [
        "render apple",
        "gallery",
        "plan p.txt --deadline 1h",
        "calibrate",
        "gc",
        "migrate",
        "prices set cpu --usd-per-hour 1",
        "prices load p.toml",
        "cost reconcile",
        "cost --jobs",
        "keys list",
        "budget --tenant default",
        "quote p.txt --workers 3",
    ],
)
def test_what_needs_the_database_says_so(remote: Shell, command: str) -> None:
    write("p.txt", "a")
    write("p.toml", "")

    assert remote(*command.split()) == 2
    assert "server" in remote.err.splitlines()[0]
    assert remote(command.split(maxsplit=1)[0], "--help") == 0


def test_parts_of_a_server_take_none(remote: Shell) -> None:
    assert remote("--server", "http://127.0.0.1:1", "worker") == 2
    assert remote.err.startswith("error: tenstep worker does not work over a server")
    assert remote("worker", "--model", "nobody") == 2
    assert "nobody" in remote.err


def test_a_key_goes_over_https_alone_and_an_address_is_one(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shell("--server", "tenstep.example", "status") == 2
    assert "http://" in shell.err

    monkeypatch.setenv("TENSTEP_API_KEY", "tsk_a-secret")
    assert shell("--server", "http://tenstep.example", "status") == 2
    assert "https://tenstep.example" in shell.err
    assert "tsk_a-secret" not in shell.err


def test_a_light_command_imports_neither_database_nor_queue(
    shell: Shell, api: ApiServer, drawn: str
) -> None:
    code = (
        "import sys; from producer.cli.main import run; code = run(sys.argv[1:]); "
        "print(code, *{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    template = ("submit", "--template", "{a}", "--var", "a=light,dark")
    show = ("show", "0", "--batch", drawn)
    for command in (("status", drawn), ("jobs", drawn), show, template):
        done = subprocess.run(
            [sys.executable, "-c", code, "--server", api.url, *command],
            capture_output=True,
            text=True,
            check=True,
        )
        code_and_modules = done.stderr.split()
        assert code_and_modules[0] == "0", done.stderr
        assert not IMPORTED_BY_NO_LIGHT_COMMAND.intersection(code_and_modules)
