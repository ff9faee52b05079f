"""The Helm chart, its examples, and what infra/kubernetes/render.py made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kubernetes.render import CHART, EXAMPLES, REFUSED, RENDERED, header, merged, read
from support.compose import REPOSITORY

Document = Mapping[str, Any]
KEDA = {
    kind: REPOSITORY / f"tests/architecture/keda-{kind.lower()}.json"
    for kind in ("ScaledObject", "TriggerAuthentication")
}
"""Schemas, of PyPI's cloudcoil-models-keda 2.16.1.0, which was made of KEDA's own definitions. What
they do not name is refused: KEDA would leave it out."""
NAMES = sorted(path.name for path in EXAMPLES.glob("*.yaml"))


def sources() -> Sequence[tuple[Path, Path]]:
    """Return each file of values, and what was made of it."""
    files = [*sorted(EXAMPLES.glob("*.yaml")), REFUSED]
    return [(path, RENDERED / path.name) for path in files]


def is_fresh(values: Path, rendered: Path) -> bool:
    """Tell whether a rendering is of these values, and of the chart as it is."""
    return rendered.read_text("utf-8").startswith(header(values))


@cache
def values_of(name: str) -> Document:
    """Return an example's values, with the chart's own below them."""
    return merged(read(CHART / "values.yaml"), read(EXAMPLES / name))


@cache
def documents(name: str) -> Sequence[Document]:
    """Return what an example is rendered to."""
    text = (RENDERED / name).read_text("utf-8")
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(name: str, *kinds: str) -> Sequence[Document]:
    """Return an example's documents of some kinds."""
    return [document for document in documents(name) if document["kind"] in kinds]


def called(name: str, kind: str, what: str) -> Document:
    """Return the one document of that kind and name."""
    (found,) = (one for one in of_kind(name, kind) if one["metadata"]["name"] == what)
    return found


def with_pods(name: str) -> Sequence[Document]:
    """Return what starts pods."""
    return of_kind(name, "Deployment", "Job")


def pod_of(document: Document) -> Document:
    """Return the specification of its pods."""
    pod: Document = document["spec"]["template"]["spec"]
    return pod


def container_of(document: Document) -> Document:
    """Return the one container of its pods."""
    (container,) = pod_of(document)["containers"]
    found: Document = container
    return found


def environment_of(document: Document) -> Mapping[str, str]:
    """Return the variables with values of their own."""
    return {one["name"]: one["value"] for one in container_of(document)["env"] if "value" in one}


def labels_of(document: Document) -> Mapping[str, str]:
    """Return the labels of its pods."""
    labels: Mapping[str, str] = document["spec"]["template"]["metadata"]["labels"]
    return labels


def selects(selector: Document, labels: Mapping[str, str]) -> bool:
    """Tell whether a selector is for pods with these labels; of expressions it knows ours."""
    return all(labels.get(key) == value for key, value in selector["matchLabels"].items()) and all(
        one["operator"] == "In" and labels.get(one["key"]) in one["values"]
        for one in selector.get("matchExpressions", ())
    )


def selected(name: str, selector: Document) -> Sequence[str]:
    """Return the names of those whose pods are selected."""
    return [one["metadata"]["name"] for one in with_pods(name) if selects(selector, labels_of(one))]


@cache
def schema() -> Document:
    """Return what the chart's values have to be like."""
    found: Document = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    return found


def refused() -> Mapping[str, Document]:
    """Return values that must not be taken, whole, by why not."""
    good = values_of("one-pool-cpu.yaml")
    return {why: merged(good, bad) for why, bad in read(REFUSED).items()}


def refusals() -> Mapping[str, str]:
    """Return what Helm said of these."""
    return read(RENDERED / REFUSED.name)
