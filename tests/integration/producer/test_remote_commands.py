"""Commands through a server: what they print is what they print beside its database."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from producer.cli.main import run
from producer.client import Client
from support.api import ApiServer
from support.commands import wait_until
from support.prompts import FRUIT
from support.shell import Shell, write

IMPORTED_BY_NO_LIGHT_COMMAND = {"sqlalchemy", "celery", "boto3", "alembic", "torch"}


@dataclass(frozen=True, slots=True)
class Watched:
    """A batch that was watched through the server until its images were there."""

    batch_id: str
    code: int
    """What ``tenstep watch --json`` ended with."""
    out: str
    """What it printed."""


@pytest.fixture(scope="module")
def watched(api: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A line of its file was refused. It is watched here since workers are slow to start."""
    file = tmp_path_factory.mktemp("prompts") / "fruit.jsonl"
    file.write_text("\n".join(FRUIT))
    with Client(api.url) as client:
        batch_id = client.submit(file=file, tags={"campaign": "spring"}, max_cost_usd="5").batch_id
        with api.drawing(), redirect_stdout(io.StringIO()) as out:
            code = run(("--server", api.url, "watch", str(batch_id), "--json"))
        assert client.batch(batch_id).counts["done"] == 2  # type: ignore[index]
        # What a server tells of a batch may be half a second old: of when a worker still was.
        wait_until(lambda: client.batch(batch_id).workers_alive == 0)
    return Watched(str(batch_id), code, out.getvalue())


@pytest.fixture(scope="module")
def drawn(watched: Watched) -> str:
    """A batch whose images are there; a line of its file was refused."""
    return watched.batch_id


@pytest.fixture
def beside(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands work with the server's own database."""
    monkeypatch.delenv("TENSTEP_SERVER", raising=False)
    monkeypatch.setenv("TENSTEP_DATA_DIR", str(api.settings.data_dir))


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
    write("fruit.jsonl", *FRUIT)
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


def test_a_batch_is_watched_to_its_end(watched: Watched) -> None:
    last = json.loads(watched.out.splitlines()[-1])

    assert watched.code == 0
    assert (last["batch_id"], last["finished"]) == (watched.batch_id, True)
    assert last["counts"]["done"] == 2


@pytest.mark.parametrize("reference", ["ffff", "nonsense", "0197f3a2-5c1e-7bb0-9f6e-1f2d3c4b5a69"])
def test_a_batch_that_is_not_there_is_told(remote: Shell, drawn: str, reference: str) -> None:
    assert remote("status", reference) == 2
    assert "no batch" in remote.err


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
        "import json, sys; from producer.cli.main import run; "
        "codes = [run(command) for command in json.load(sys.stdin)]; "
        "print(*codes, *{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    template = ("submit", "--template", "{a}", "--var", "a=light,dark")
    show = ("show", "0", "--batch", drawn)
    commands = [
        ("--server", api.url, *command)
        for command in (("status", drawn), ("jobs", drawn), show, template)
    ]
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
    )
    codes_and_modules = done.stderr.split()
    assert codes_and_modules[:4] == ["0"] * 4, done.stderr
    assert not IMPORTED_BY_NO_LIGHT_COMMAND.intersection(codes_and_modules)
