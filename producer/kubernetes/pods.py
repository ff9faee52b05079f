"""Pods of a namespace: listed, and given another deletion cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from shared.errors import ConfigurationError, InputError, ServiceUnavailableError

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""The annotation by which a ReplicaSet that shrinks chooses: the lowest goes first. Without, 0."""
METADATA_ALONE = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""Of a pod the rest, ten times as much, is not needed."""
PAGE = 500
MOST_PAGES = 200
LONGEST_NAME = 63
"""Of a host. A pod's is the begin of its name."""
MOST_CHARACTERS = 500
"""Of what the API server says."""


@dataclass(frozen=True, slots=True)
class Pod:
    """What there is to know of a pod."""

    name: str
    uid: str
    cost: int | None
    """None is an annotation that is no whole number, which counts for nothing."""
    is_ending: bool

    @property
    def host(self) -> str:
        """What its processes take for the name of their host."""
        return self.name[:LONGEST_NAME].rstrip("-.")


class Pods:
    """The pods of one namespace, by one client."""

    def __init__(self, client: httpx.Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"

    def find(self, selector: str) -> Sequence[Pod]:
        """Find the pods that have some labels.

        Args:
            selector: as kubectl takes it.

        Raises:
            InputError: the selector is none.
            ConfigurationError: the service account may not list pods.
            ServiceUnavailableError: the API server does not answer as it should.
        """
        found: list[Pod] = []
        parameters = {"labelSelector": selector, "limit": str(PAGE)}
        for _ in range(MOST_PAGES):
            page, following = self._page(parameters)
            found += page
            if not following:
                return found
            parameters["continue"] = following
        raise ServiceUnavailableError(f"{selector}: more than {MOST_PAGES * PAGE:,} pods")

    def set_cost(self, pod: Pod, cost: int) -> bool:
        """Say what it costs to delete a pod; False if there is no such pod any more.

        Raises:
            ConfigurationError: the service account may not patch pods.
            ServiceUnavailableError: the API server does not answer as it should.
        """
        # With its id, lest another of the same name is meant.
        metadata = {"uid": pod.uid, "annotations": {DELETION_COST: str(cost)}}
        answer = self._send(
            "PATCH",
            f"{self._path}/{quote(pod.name, safe='')}",
            headers={"Content-Type": "application/merge-patch+json"},
            json={"metadata": metadata},
        )
        if answer.status_code in {httpx.codes.NOT_FOUND, httpx.codes.CONFLICT}:
            return False
        self._check("patch", answer)
        return True

    def _page(self, parameters: Mapping[str, str]) -> tuple[Sequence[Pod], str | None]:
        """Return some of the pods, and what to ask the next with."""
        headers = {"Accept": METADATA_ALONE}
        answer = self._send("GET", self._path, params=parameters, headers=headers)
        self._check("list", answer)
        try:
            page = answer.json()
            # Without pods it is null.
            found = [_pod(item["metadata"]) for item in page["items"] or ()]
            return found, page["metadata"].get("continue")
        except (ValueError, LookupError, TypeError, AttributeError):
            raise ServiceUnavailableError(
                f"what answers at {self._client.base_url} is no Kubernetes API server"
            ) from None

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **request)
        except httpx.TransportError as error:
            raise ServiceUnavailableError(
                f"the Kubernetes API server at {self._client.base_url} does not answer: "
                f"{str(error) or type(error).__name__}"
            ) from None

    def _check(self, verb: str, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        said = _said(answer)
        match answer.status_code:
            case httpx.codes.UNAUTHORIZED:
                raise ConfigurationError(
                    f"the Kubernetes API server does not accept the service account's token: {said}"
                )
            case httpx.codes.FORBIDDEN:
                raise ConfigurationError(
                    f"the service account may not {verb} pods of {self._namespace}: {said}",
                    hint="Grant it a Role with the verbs list and patch on the resource pods "
                    f"of the namespace {self._namespace}.",
                )
            case httpx.codes.BAD_REQUEST if verb == "list":
                raise InputError(f"--selector: {said}")
            case status:
                raise ServiceUnavailableError(
                    f"the Kubernetes API server could not {verb} pods: {status} {said}"
                )


def _pod(metadata: Mapping[str, Any]) -> Pod:
    annotations = metadata.get("annotations") or {}
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        cost=_whole_number(annotations.get(DELETION_COST, "0")),
        is_ending="deletionTimestamp" in metadata,
    )


def _whole_number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _said(answer: httpx.Response) -> str:
    """Return the message of a Kubernetes Status, or the reason of the answer."""
    try:
        said = answer.json()["message"]
    except (ValueError, LookupError, TypeError):
        said = answer.reason_phrase
    return str(said)[:MOST_CHARACTERS]
