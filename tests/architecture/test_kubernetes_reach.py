"""What selects pods in the Helm chart, who may call whom, and what comes first."""

from __future__ import annotations

import pytest

from support.kubernetes_chart import (
    NAMES,
    called,
    container_of,
    documents,
    environment_of,
    labels_of,
    of_kind,
    pod_of,
    selected,
    selects,
    values_of,
    with_pods,
)

every_example = pytest.mark.parametrize("name", NAMES)


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


@every_example
def test_the_api_is_called_by_whom_the_values_name_on_its_port_alone(name: str) -> None:
    policy = values_of(name)["networkPolicy"]
    (port,) = container_of(called(name, "Deployment", "tenstep-api"))["ports"]
    rules = [
        rule for one in of_kind(name, "NetworkPolicy") for rule in one["spec"].get("ingress", ())
    ]
    expected = {
        "from": policy["apiFrom"],
        "ports": [{"port": port["containerPort"], "protocol": "TCP"}],
    }

    assert rules == ([expected] if policy["enabled"] else [])


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
