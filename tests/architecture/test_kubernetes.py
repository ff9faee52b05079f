"""The Helm chart, as infra/kubernetes/render.py rendered it: no cluster and no Helm is here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema_rs
import kubernetes_validate
import pytest
import typer

from kubernetes.render import CHART, RENDERED, merged, read
from producer.api.health import router
from producer.cli.main import app
from producer.local_worker import KILL_WAIT_SECONDS
from shared.settings import SECRETS_DIR, Settings
from shared.version import VERSION
from support.compose import DOCKERFILE, REPOSITORY
from support.dockerfile import chain, read_dockerfile
from support.known import parse, settings_names
from support.kubernetes_chart import (
    NAMES,
    Document,
    called,
    container_of,
    documents,
    environment_of,
    is_fresh,
    labels_of,
    of_kind,
    pod_of,
    refusals,
    refused,
    schema,
    selected,
    selects,
    sources,
    values_of,
    with_pods,
)

# From PyPI's cloudcoil-models-keda 2.16.1.0, which was made of KEDA's own definitions; what it
# does not name is refused, as nothing that KEDA would leave out may be relied on.
KEDA = {
    kind: Path(__file__).with_name(f"keda-{kind.lower()}.json")
    for kind in ("ScaledObject", "TriggerAuthentication")
}
OLDEST, NEWEST = "1.27", kubernetes_validate.latest_version()
SECRETS = "/etc/tenstep/secrets"
POD_NAME_ADDS = 17
"""Characters: two hyphens, the hash of a template and that of a pod."""
MOST_IN_A_HOST_NAME = 63

every_example = pytest.mark.parametrize("name", NAMES)
POOLS = [
    pytest.param(name, pool, id=f"{name}-{pool['name']}")
    for name in NAMES
    for pool in values_of(name)["pools"]
]
every_pool = pytest.mark.parametrize(("name", "pool"), POOLS)


def worker(name: str, pool: Document) -> Document:
    return called(name, "Deployment", f"tenstep-worker-{pool['name']}")


def scaled(name: str, pool: Document) -> Document:
    return called(name, "ScaledObject", f"tenstep-worker-{pool['name']}")


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
        Settings(
            **{
                key[8:].lower(): value
                for key, value in environment_of(document).items()
                if key in ours
            }
        )  # type: ignore[arg-type]


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


def commands() -> list[object]:
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    words = {
        tuple(container_of(document)["args"]) for name in NAMES for document in with_pods(name)
    }
    return [
        pytest.param(one, id=one[1]) for one in sorted(words) if one[1] in known or one[1] != "pods"
    ]


@pytest.mark.parametrize("words", commands())
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
        assert probes or labels_of(document)["app.kubernetes.io/component"] in {"migrate", "pods"}


# Workers


@every_pool
def test_a_worker_has_the_time_to_drain(name: str, pool: Document) -> None:
    document = worker(name, pool)
    drain = int(environment_of(document)["TENSTEP_STOP_GRACE_SECONDS"]) + KILL_WAIT_SECONDS

    assert pod_of(document)["terminationGracePeriodSeconds"] > drain
    if "stopGraceSeconds" in pool:
        assert drain == pool["stopGraceSeconds"] + KILL_WAIT_SECONDS


@every_pool
def test_a_pool_is_of_its_model_and_its_devices(name: str, pool: Document) -> None:
    document = worker(name, pool)
    environment, container = environment_of(document), container_of(document)
    count = pool.get("resourceCount", 1)
    devices = {
        "cpu": "cpu",
        "cuda": ",".join(f"cuda:{index}" for index in range(count)),
        "qaic": "auto",
    }

    assert environment["TENSTEP_MODEL"] == pool["model"]
    assert environment["TENSTEP_ALSO_MODELS"] == ",".join(pool.get("alsoModels", ()))
    assert environment["TENSTEP_DEVICE_SKU"] == pool.get("deviceSku", "")
    assert container["args"][:4] == ["tenstep", "worker", "--device", devices[pool["deviceKind"]]]
    assert f"/{pool['target']}" in container["image"]
    if "resourceName" in pool:
        assert container["resources"]["limits"][pool["resourceName"]] == count
    groups = pod_of(document)["securityContext"].get("supplementalGroups", [])
    assert groups == pool.get("supplementalGroups", [])


@every_pool
def test_a_pool_of_spot_instances_runs_there_and_no_other_does(name: str, pool: Document) -> None:
    spot, pod = values_of(name)["spot"], pod_of(worker(name, pool))
    tolerations = pool.get("tolerations", []) + (spot["tolerations"] if pool.get("spot") else [])

    assert pod.get("tolerations", []) == tolerations
    if pool.get("spot"):
        assert pod["nodeSelector"].items() >= spot["nodeSelector"].items()
    else:
        assert pod.get("nodeSelector", {}) == pool.get("nodeSelector", {})


@every_pool
def test_a_pods_name_is_that_of_its_host(name: str, pool: Document) -> None:
    document = worker(name, pool)

    assert len(document["metadata"]["name"]) + POD_NAME_ADDS <= MOST_IN_A_HOST_NAME


@every_pool
def test_new_workers_take_the_place_of_old_ones(name: str, pool: Document) -> None:
    rolling = worker(name, pool)["spec"]["strategy"]["rollingUpdate"]

    assert rolling["maxSurge"] == 0
    assert rolling["maxUnavailable"]


# Scaling


@every_pool
def test_keda_alone_says_how_many_workers_there_are(name: str, pool: Document) -> None:
    specification = worker(name, pool)["spec"]
    if not values_of(name)["keda"]["enabled"]:
        assert specification["replicas"] == pool["max"]
        assert of_kind(name, *KEDA) == []
        return
    spec = scaled(name, pool)["spec"]
    assert "replicas" not in specification
    assert spec["scaleTargetRef"] == {"name": worker(name, pool)["metadata"]["name"]}
    assert spec["minReplicaCount"] == pool.get("min", 0)
    assert spec["maxReplicaCount"] == pool["max"]
    # A fallback of none would end all workers whenever the backlog cannot be read.
    assert spec.get("fallback", {}).get("replicas") == pool.get("fallbackReplicas")
    assert spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]["policies"]


@every_pool
def test_a_pool_is_scaled_by_its_backlog(name: str, pool: Document) -> None:
    if not values_of(name)["keda"]["enabled"]:
        return
    (trigger,) = scaled(name, pool)["spec"]["triggers"]
    told, count = trigger["metadata"], pool.get("resourceCount", 1)
    models = ",".join([pool["model"], *pool.get("alsoModels", ())])
    raw = (CHART / "files/backlog.sql").read_text("utf-8")
    expected = raw.replace(":'models'", f"'{models}'")
    expected = expected.replace(":'device_kind'", f"'{pool['deviceKind']}'")

    assert (trigger["type"], trigger["metricType"]) == ("postgresql", "AverageValue")
    assert int(told["targetQueryValue"]) == pool["targetDeviceSeconds"] * count
    assert told["query"].split() == expected.split()
    assert not re.search(r":'\w+'", told["query"])
    assert trigger["authenticationRef"]["name"] == "tenstep-backlog"


@every_example
def test_keda_finds_the_database_in_a_secret_that_is_there(name: str) -> None:
    for document in of_kind(name, "TriggerAuthentication"):
        keda, existing = values_of(name)["keda"], values_of(name)["existingSecret"]
        assert document["metadata"]["name"] == "tenstep-backlog"
        assert document["spec"]["secretTargetRef"] == [
            {
                "parameter": "connection",
                "name": keda["existingSecret"] or existing,
                "key": keda["secretKey"],
            }
        ]


# Who is selected


@every_example
def test_a_deployment_and_a_budget_are_of_one_kind_of_pods(name: str) -> None:
    deployments = of_kind(name, "Deployment")
    for document in deployments:
        assert selected(name, document["spec"]["selector"]) == [document["metadata"]["name"]]
    for budget in of_kind(name, "PodDisruptionBudget"):
        assert selected(name, budget["spec"]["selector"]) == [budget["metadata"]["name"]]
        assert budget["spec"]["maxUnavailable"] not in {0, "0%"}, "no node could be drained"
    with_budget = {one["metadata"]["name"] for one in of_kind(name, "PodDisruptionBudget")}
    assert with_budget == {one["metadata"]["name"] for one in deployments} - {"tenstep-pods"}


@every_example
def test_the_service_and_the_ingress_lead_to_the_api(name: str) -> None:
    (service,) = of_kind(name, "Service")
    (port,) = service["spec"]["ports"]
    ports = [
        one["name"] for one in container_of(called(name, "Deployment", "tenstep-api"))["ports"]
    ]

    assert selected(name, {"matchLabels": service["spec"]["selector"]}) == ["tenstep-api"]
    assert [port["targetPort"]] == ports
    for ingress in of_kind(name, "Ingress"):
        assert ingress["spec"]["tls"][0]["secretName"]
        (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
        assert path["backend"]["service"] == {"name": "tenstep-api", "port": {"name": port["name"]}}
        environment = environment_of(called(name, "Deployment", "tenstep-api"))
        assert environment["TENSTEP_PUBLIC_URL"] == f"https://{ingress['spec']['rules'][0]['host']}"


@every_example
def test_a_pod_is_called_and_calls_only_as_a_policy_has_it(name: str) -> None:
    policies = of_kind(name, "NetworkPolicy")
    if not values_of(name)["networkPolicy"]["enabled"]:
        assert policies == []
        return
    may_be_called, ports = set(), {}
    for document in with_pods(name):
        here = [
            one["spec"]
            for one in policies
            if selects(one["spec"]["podSelector"], labels_of(document))
        ]
        component = labels_of(document)["app.kubernetes.io/component"]
        assert {kind for one in here for kind in one["policyTypes"]} == {"Ingress", "Egress"}
        may_be_called |= {component for one in here if one.get("ingress")}
        ports[component] = {
            port["port"] for one in here for rule in one.get("egress", ()) for port in rule["ports"]
        }
    policy = values_of(name)["networkPolicy"]
    services = {policy[one]["port"] for one in ("dns", "database", "redis", "s3")}

    assert may_be_called == {"api"}
    assert ports["worker"] == ports["dispatcher"] == services
    assert ports["api"] == services | {443}
    assert ports["migrate"] == {policy["dns"]["port"], policy["database"]["port"]}
    assert ports["pods"] == ports["migrate"] | set(policy["kubeApi"]["ports"])
    for one in policies:
        assert selected(name, one["spec"]["podSelector"])


# Order


@every_example
def test_tables_are_made_before_anything_else_and_with_nothing_of_the_chart(name: str) -> None:
    (job,) = of_kind(name, "Job")
    hooks = [
        one for one in documents(name) if "helm.sh/hook" in one["metadata"].get("annotations", {})
    ]

    assert hooks == [job]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    account = pod_of(job).get("serviceAccountName")
    assert account == (values_of(name)["serviceAccountName"] or None)
    assert "envFrom" not in container_of(job)


# Values


@pytest.mark.parametrize("name", NAMES)
def test_values_are_what_the_schema_has(name: str) -> None:
    validator = jsonschema_rs.validator_for(schema())

    assert [error.message for error in validator.iter_errors(values_of(name))] == []


@pytest.mark.parametrize("why", refused())
def test_bad_values_are_refused(why: str) -> None:
    by_schema = not jsonschema_rs.validator_for(schema()).is_valid(refused()[why])
    said = refusals()[why]

    assert ("specifications of the schema" in said) == by_schema
    assert by_schema or "execution error" in said, said


def test_each_value_has_its_default_and_its_rule() -> None:
    values = read(CHART / "values.yaml")

    assert schema()["properties"].keys() == values.keys() | {"global"}
    for key, rule in schema()["properties"].items():
        if rule.get("properties") and key != "image":
            placed = {"nodeSelector", "tolerations", "affinity", "priorityClassName"}
            assert rule["properties"].keys() - placed == values[key].keys(), key


def test_each_field_of_a_pool_is_shown() -> None:
    text = (CHART / "values.yaml").read_text("utf-8")
    placed = {"nodeSelector", "tolerations", "affinity", "priorityClassName"}

    for field in schema()["definitions"]["pool"]["properties"].keys() - placed:
        assert re.search(rf"^# +(- )?{field}: ", text, re.MULTILINE), field


def test_values_are_laid_over_others_as_helm_does() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3}, "d": []}) == {
        "a": {"b": 3, "c": 2},
        "d": [],
    }


def test_the_readme_names_the_examples() -> None:
    readme = (REPOSITORY / "infra/kubernetes/README.md").read_text("utf-8")

    assert [name for name in NAMES if f"examples/{name}" not in readme] == []
