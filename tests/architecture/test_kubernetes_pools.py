"""Pools of workers in the Helm chart: what they draw, how they end, and how KEDA scales them."""

from __future__ import annotations

import re

import pytest

from kubernetes.render import CHART
from producer.local_worker import KILL_WAIT_SECONDS
from support.kubernetes_chart import (
    KEDA,
    NAMES,
    Document,
    called,
    container_of,
    environment_of,
    of_kind,
    pod_of,
    values_of,
)

POD_NAME_ADDS = 17
"""Characters: two hyphens, the hash of a template and that of a pod."""
MOST_IN_A_HOST_NAME = 63

every_example = pytest.mark.parametrize("name", NAMES)
POOLS = [
    pytest.param(name, pool, id=f"{name}-{pool['name']}")
    for name in NAMES
    for pool in values_of(name)["pools"]
]
SCALED = [one for one in POOLS if values_of(str(one.values[0]))["keda"]["enabled"]]
every_pool = pytest.mark.parametrize(("name", "pool"), POOLS)
every_scaled_pool = pytest.mark.parametrize(("name", "pool"), SCALED)


def worker(name: str, pool: Document) -> Document:
    return called(name, "Deployment", f"tenstep-worker-{pool['name']}")


def scaled(name: str, pool: Document) -> Document:
    return called(name, "ScaledObject", f"tenstep-worker-{pool['name']}")


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


@every_scaled_pool
def test_keda_alone_says_how_many_workers_there_are(name: str, pool: Document) -> None:
    document, spec = worker(name, pool), scaled(name, pool)["spec"]

    assert "replicas" not in document["spec"]
    assert spec["scaleTargetRef"] == {"name": document["metadata"]["name"]}
    assert spec["minReplicaCount"] == pool.get("min", 0)
    assert spec["maxReplicaCount"] == pool["max"]
    # A fallback of none would end all workers whenever the backlog cannot be read.
    assert spec.get("fallback", {}).get("replicas") == pool.get("fallbackReplicas")


@every_scaled_pool
def test_a_pool_shrinks_slowly(name: str, pool: Document) -> None:
    spec = scaled(name, pool)["spec"]
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]

    assert down["stabilizationWindowSeconds"] >= 300
    assert [one["type"] for one in down["policies"]] == ["Percent"]
    assert spec["cooldownPeriod"] >= 300


@every_scaled_pool
def test_a_pool_is_scaled_by_its_backlog(name: str, pool: Document) -> None:
    (trigger,) = scaled(name, pool)["spec"]["triggers"]
    told, count = trigger["metadata"], pool.get("resourceCount", 1)
    models = ",".join([pool["model"], *pool.get("alsoModels", ())])
    raw = (CHART / "files/backlog.sql").read_text("utf-8")
    expected = raw.replace(":'models'", f"'{models}'")
    expected = expected.replace(":'device_kind'", f"'{pool['deviceKind']}'")

    assert (trigger["type"], trigger["metricType"]) == ("postgresql", "AverageValue")
    assert int(told["targetQueryValue"]) == pool["targetDeviceSeconds"] * count
    assert int(told["activationTargetQueryValue"]) == pool.get("activationDeviceSeconds", 0)
    assert told["query"].split() == expected.split()
    assert not re.search(r":'\w+'", told["query"])
    assert trigger["authenticationRef"]["name"] == "tenstep-backlog"


def test_without_keda_a_pool_has_its_maximum() -> None:
    name = "without-keda.yaml"

    assert of_kind(name, *KEDA) == []
    for pool in values_of(name)["pools"]:
        assert worker(name, pool)["spec"]["replicas"] == pool["max"]


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
