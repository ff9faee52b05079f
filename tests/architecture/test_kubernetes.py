"""The Helm chart, as infra/kubernetes/render.py rendered it: no cluster and no Helm is here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema_rs
import kubernetes_validate
import pytest

from kubernetes.render import CHART, RENDERED, read
from producer.api.health import router
from shared.settings import SECRETS_DIR, Settings
from shared.version import VERSION
from support.compose import DOCKERFILE, REPOSITORY
from support.dockerfile import chain, read_dockerfile
from support.known import parse, settings_names
from support.kubernetes_chart import (
    KEDA,
    NAMES,
    called,
    container_of,
    documents,
    environment_of,
    is_fresh,
    labels_of,
    of_kind,
    pod_of,
    selected,
    sources,
    values_of,
    with_pods,
)

OLDEST, NEWEST = "1.27", kubernetes_validate.latest_version()
SECRETS = "/etc/tenstep/secrets"
HEALTHY = REPOSITORY / "infra/docker/healthy.py"
every_example = pytest.mark.parametrize("name", NAMES)

# What was rendered


@pytest.mark.parametrize("source", sources(), ids=lambda source: source[0].name)
def test_what_is_rendered_is_of_the_chart_as_it_is(source: tuple[Path, Path]) -> None:
    assert is_fresh(*source), "run python infra/kubernetes/render.py (its first lines say how)"


def test_there_are_no_other_renderings() -> None:
    assert {path.name for path in RENDERED.iterdir()} == {path.name for _, path in sources()}


@every_example
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_all_is_as_kubernetes_has_it(name: str, version: str) -> None:
    for document in documents(name):
        if document["kind"] not in KEDA:
            kubernetes_validate.validate(document, version, strict=True)


@every_example
def test_all_is_as_keda_has_it(name: str) -> None:
    for document in of_kind(name, *KEDA):
        validator = jsonschema_rs.validator_for(json.loads(KEDA[document["kind"]].read_text()))
        assert [error.message for error in validator.iter_errors(document)] == []


def test_the_chart_says_which_version_it_is_of() -> None:
    chart = read(CHART / "Chart.yaml")

    assert chart["appVersion"] == chart["version"] == VERSION
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"


@every_example
def test_names_are_there_once(name: str) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in documents(name)]

    assert len(set(names)) == len(names)


# What a pod may do


@every_example
def test_a_pod_may_do_no_more_than_it_must(name: str) -> None:
    for document in with_pods(name):
        pod, container = pod_of(document), container_of(document)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostname", "initContainers"} & pod.keys()


@every_example
def test_a_pod_is_bounded(name: str) -> None:
    for document in with_pods(name):
        assert container_of(document)["resources"]["limits"]["memory"]
        for volume in pod_of(document)["volumes"]:
            kinds = volume.keys() - {"name"}
            assert kinds <= {"secret", "emptyDir", "persistentVolumeClaim"}
            assert "emptyDir" not in kinds or volume["emptyDir"]["sizeLimit"]


@every_example
def test_one_pod_talks_to_kubernetes_and_may_mark_pods_alone(name: str) -> None:
    with_token = [
        one["metadata"]["name"]
        for one in with_pods(name)
        if pod_of(one)["automountServiceAccountToken"]
    ]
    (role,) = of_kind(name, "Role")
    (binding,) = of_kind(name, "RoleBinding")
    (account,) = of_kind(name, "ServiceAccount")
    account_name = account["metadata"]["name"]

    assert with_token == ["tenstep-pods"]
    assert pod_of(called(name, "Deployment", "tenstep-pods"))["serviceAccountName"] == account_name
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "patch"]}
    ]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [one["name"] for one in binding["subjects"]] == [account_name]
    assert of_kind(name, "ClusterRole", "ClusterRoleBinding") == []


@every_example
def test_who_marks_pods_looks_at_the_workers_alone(name: str) -> None:
    words = container_of(called(name, "Deployment", "tenstep-pods"))["args"]
    pairs = words[words.index("--selector") + 1].split(",")
    chosen = selected(name, {"matchLabels": dict(pair.split("=") for pair in pairs)})

    assert chosen == [f"tenstep-worker-{pool['name']}" for pool in values_of(name)["pools"]]


# What it is told


@every_example
def test_settings_are_some_that_tenstep_knows(name: str) -> None:
    for document in with_pods(name):
        names = [one["name"] for one in container_of(document)["env"]]
        ours = {one for one in names if one.startswith("TENSTEP_")} - {SECRETS_DIR}
        assert len(set(names)) == len(names), "the last one would go before"
        assert ours <= settings_names()
        given = {key: value for key, value in environment_of(document).items() if key in ours}
        Settings(**{key[8:].lower(): value for key, value in given.items()})  # type: ignore[arg-type]


@every_example
def test_secrets_are_files_of_a_secret_that_is_there(name: str) -> None:
    values = values_of(name)
    assert of_kind(name, "Secret", "ConfigMap") == []
    for document in with_pods(name):
        environment = environment_of(document)
        (secret,) = (one["secret"] for one in pod_of(document)["volumes"] if "secret" in one)
        files = {item["path"].upper() for item in secret["items"]}
        (mount,) = (
            one for one in container_of(document)["volumeMounts"] if one["name"] == "secrets"
        )
        assert secret["secretName"] == values["existingSecret"]
        assert [item["key"] for item in secret["items"]] == [one["path"] for one in secret["items"]]
        assert files <= settings_names()
        assert not files & environment.keys(), "a variable would go before the file"
        assert mount["mountPath"] == environment[SECRETS_DIR] == SECRETS
        assert not any(re.search("PASSWORD|SECRET(?!S_DIR)|TOKEN|_KEY", one) for one in environment)
        assert not any("secretKeyRef" in json.dumps(one) for one in container_of(document)["env"])


@every_example
def test_a_pod_has_the_secrets_that_it_needs_and_no_others(name: str) -> None:
    of_store = {"tenstep_s3_access_key_id", "tenstep_s3_secret_access_key"}
    for document in with_pods(name):
        volumes = pod_of(document)["volumes"]
        (items,) = (one["secret"]["items"] for one in volumes if "secret" in one)
        needed = {"tenstep_database_url"}
        if labels_of(document)["app.kubernetes.io/component"] in {"api", "dispatcher", "worker"}:
            needed |= {"tenstep_redis_url"}
            needed |= of_store if values_of(name)["s3"]["keys"] else set()
        assert {item["key"] for item in items} == needed


@every_example
def test_volumes_that_are_mounted_are_there(name: str) -> None:
    for document in with_pods(name):
        mounts = {one["name"]: one["mountPath"] for one in container_of(document)["volumeMounts"]}
        volumes = {one["name"] for one in pod_of(document)["volumes"]}
        assert mounts.keys() == volumes
        assert {"/var/lib/tenstep", "/tmp"} <= set(mounts.values())  # noqa: S108


COMMANDS = sorted(
    {tuple(container_of(document)["args"]) for name in NAMES for document in with_pods(name)}
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[1])
def test_a_pod_runs_a_command_that_is_there(words: tuple[str, ...]) -> None:
    parse(words)


@every_example
def test_images_are_targets_of_the_dockerfile_with_a_version(name: str) -> None:
    targets = read_dockerfile(DOCKERFILE).keys()
    for document in with_pods(name):
        match = re.fullmatch(
            r"registry\.example/studio/([\w-]+)(:[\w.-]+|@sha256:[0-9a-f]{64})",
            container_of(document)["image"],
        )
        assert match is not None
        assert match[1] in targets
        assert match[2] != ":latest"


@every_example
def test_probes_are_of_what_is_in_the_image(name: str) -> None:
    stages = read_dockerfile(DOCKERFILE)
    paths = {route.path for route in router.routes}
    for document in with_pods(name):
        container = container_of(document)
        probes = [value for key, value in container.items() if key.endswith("Probe")]
        target = re.split("[:@]", container["image"].rsplit("/", 1)[1])[0]
        copied = {copy.words[-1] for one in chain(stages, target) for copy in one.all_of("COPY")}
        for probe in probes:
            if "httpGet" in probe:
                assert probe["httpGet"]["path"] in paths
            else:
                python, script, role = probe["exec"]["command"]
                assert python == "python"
                assert script in copied
                assert role == labels_of(document)["app.kubernetes.io/component"]
                assert f'case "{role}":' in HEALTHY.read_text("utf-8")
        assert probes or document["kind"] == "Job"
