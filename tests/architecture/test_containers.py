"""The Dockerfile and docker-compose.yml: what can be known of them without an engine."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import jsonschema_rs
import pytest

from producer.local_worker import KILL_WAIT_SECONDS
from shared.settings import Settings
from shared.version import VERSION
from support.compose import (
    COMPOSE,
    DOCKERFILE,
    PUBLISHED,
    REPOSITORY,
    environment_of,
    read_compose,
    services,
)
from support.dockerfile import chain, read_dockerfile
from support.known import parse, settings_names

# Vendored from https://github.com/compose-spec/compose-go, as check-jsonschema 0.39.0 has it.
SCHEMA = Path(__file__).with_name("compose-spec.json")
STAGES = read_dockerfile(DOCKERFILE)
TARGETS = ["tenstep", "tenstep-worker", "tenstep-worker-cuda", "tenstep-worker-qaic"]
SERVICES = services()
OURS = [name for name, service in SERVICES.items() if "build" in service]
THAT_END = {
    name
    for service in SERVICES.values()
    for name, terms in service.get("depends_on", {}).items()
    if terms["condition"] == "service_completed_successfully"
}
SECONDS = {"s": 1, "m": 60}


def seconds(duration: str) -> int:
    return int(duration[:-1]) * SECONDS[duration[-1]]


# Compose


@pytest.mark.parametrize("path", [COMPOSE, PUBLISHED], ids=lambda path: path.name)
def test_the_file_is_as_the_compose_specification_has_it(path: Path) -> None:
    schema = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text("utf-8")))

    assert [error.message for error in schema.iter_errors(read_compose(path))] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & set(service)
    if name not in OURS and name != "s3":  # which is 0 without rights, and says why
        assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_bounded(name: str) -> None:
    service = SERVICES[name]

    assert service["deploy"]["resources"]["limits"]["memory"]
    assert service["pids_limit"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_stays_tells_whether_it_works(name: str) -> None:
    health = SERVICES[name]["healthcheck"]
    if name in THAT_END:
        assert health == {"disable": True}
    else:
        assert health["test"][0] in {"CMD", "CMD-SHELL"}
        assert seconds(health["timeout"]) < seconds(health["interval"])
        assert SERVICES[name]["restart"] == "unless-stopped"


def test_from_outside_there_is_the_api_alone_and_only_on_this_host() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    outside = {name for name, one in SERVICES.items() if "outside" in one["networks"]}

    assert published == {"api": ["127.0.0.1:8080:8080"]}
    assert read_compose()["networks"]["inside"] == {"internal": True}
    assert outside == {"api", "worker", "worker-cuda", "worker-qaic"}
    for service in services(PUBLISHED).values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_images_of_others_have_exact_versions() -> None:
    images = [one["image"] for name, one in SERVICES.items() if name not in OURS]

    assert all(re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?$", image) for image in images), images


@pytest.mark.parametrize("name", OURS)
def test_settings_and_secrets_are_some_that_tenstep_knows(name: str) -> None:
    given = {key for key in SERVICES[name]["environment"] if key.startswith("TENSTEP_")}
    files = {secret.upper() for secret in SERVICES[name]["secrets"]}

    assert given | files <= settings_names()
    assert not given & files, "a variable would go before the file"
    Settings(**{key[8:].lower(): value for key, value in environment_of(name).items()})  # type: ignore[arg-type]


def test_no_secret_is_in_the_file() -> None:
    for name, service in SERVICES.items():
        for key in service.get("environment", {}):
            if re.search("PASSWORD|SECRET|TOKEN|_KEY|CREDENTIAL", key):
                assert key.endswith("_FILE"), f"{name}: {key}"


def test_every_secret_is_made_and_ignored_by_git(tmp_path: Path) -> None:
    script = REPOSITORY / "infra/docker/make-secrets.sh"
    subprocess.run([script, tmp_path / "secrets"], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    subprocess.run([script, tmp_path / "secrets"], check=True, capture_output=True)
    named = [Path(secret["file"]) for secret in read_compose()["secrets"].values()]

    assert {path.parent.as_posix() for path in named} == {"secrets"}
    assert {path.name for path in named} <= made.keys()
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    random = [made[name] for name in made if re.search("password|access_key", name)]
    assert len(set(random)) == len(random)
    assert all(re.fullmatch("[0-9a-f]{48}", text) for text in random)
    assert "/secrets/" in (REPOSITORY / ".gitignore").read_text().splitlines()


def test_what_is_used_is_declared() -> None:
    document = read_compose()
    for name, service in SERVICES.items():
        volumes = {volume.split(":")[0] for volume in service.get("volumes", ())}
        mounted = {one for one in volumes if one.startswith(".")}
        assert volumes - mounted <= document["volumes"].keys()
        assert [one for one in mounted if not (REPOSITORY / one).exists()] == [], name
        assert set(service.get("secrets", ())) <= document["secrets"].keys(), name
        assert set(service["networks"]) <= document["networks"].keys()
        assert set(service.get("depends_on", ())) <= SERVICES.keys()
        if name in OURS:
            assert service["build"]["target"] in TARGETS
            assert REPOSITORY / service["build"]["dockerfile"] == DOCKERFILE


@pytest.mark.parametrize("name", [name for name in OURS if "worker" in name])
def test_a_worker_has_the_time_to_drain(name: str) -> None:
    drain = int(environment_of(name)["TENSTEP_STOP_GRACE_SECONDS"]) + KILL_WAIT_SECONDS

    assert seconds(SERVICES[name]["stop_grace_period"]) > drain


@pytest.mark.parametrize("name", OURS)
def test_a_service_runs_a_command_that_is_there(name: str) -> None:
    parse(SERVICES[name]["command"])


# The Dockerfile


def test_all_bases_are_stages_or_images_with_a_version() -> None:
    bases = {stage.base for stage in STAGES.values()} - STAGES.keys()

    assert bases == {
        "python:${PYTHON_VERSION}-slim-bookworm${PYTHON_DIGEST}",
        "${QAIC_SDK_IMAGE}",
    }
    assert re.search(r"^ARG PYTHON_VERSION=3\.11\.\d+$", DOCKERFILE.read_text(), re.MULTILINE)
    assert "latest" not in DOCKERFILE.read_text()


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_nobodys_and_gets_signals(name: str) -> None:
    instructions = [one for stage in chain(STAGES, name) for one in stage.instructions]
    last = {one.word: one for one in instructions}

    assert last["USER"].text == "10001:10001"
    assert last["WORKDIR"].text == "/var/lib/tenstep"
    assert last["STOPSIGNAL"].text == "SIGTERM"
    assert list(last["ENTRYPOINT"].words) == ["tini", "--"]
    assert last["CMD"].text.startswith("[")
    assert " CMD [" in last["HEALTHCHECK"].text
    parse(list(last["CMD"].words))


def test_nothing_is_fetched_unseen_and_nothing_compiled() -> None:
    for stage in STAGES.values():
        assert not stage.all_of("ADD")
        for run in stage.all_of("RUN"):
            assert not re.search("curl|wget|gcc|build-essential|sudo", run.text)
            if " install --no-cache-dir" in run.text:
                assert "--only-binary=:all: --constraint /constraints.txt" in run.text


def test_what_is_copied_is_there_and_is_sent_to_the_engine() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for stage in STAGES.values()
        for copy in stage.all_of("COPY")
        if "from" not in copy.options
        for source in copy.words[:-1]
    }

    assert "*" in ignored
    assert copied == sent
    assert all((REPOSITORY / source).exists() for source in copied)
    for stage in STAGES.values():
        for copy in stage.all_of("COPY"):
            assert copy.options.get("from", "wheel") in STAGES


def test_versions_and_settings_of_all_targets_are_the_same() -> None:
    common = STAGES["runtime"].environment()
    of_qaic = STAGES["tenstep-worker-qaic"].environment()

    assert {STAGES[name].arguments()["VERSION"] for name in TARGETS} == {VERSION}
    assert {key for key in common if key.startswith("TENSTEP_")} <= settings_names()
    assert of_qaic | {"PATH": ""} == common | {"PATH": ""}
