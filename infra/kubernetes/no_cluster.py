"""A Kubernetes API on this machine that knows kinds, has nothing, and takes one thing: a release.

Helm's library has no ``template`` for programs: it installs, and asks a cluster first. What it
has rendered it writes down as a Secret before it makes anything else, so that is where it is read.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

VERSION = "v1.34.0"
RESOURCES = {
    "v1": {
        "pods": "Pod",
        "secrets": "Secret",
        "services": "Service",
        "serviceaccounts": "ServiceAccount",
    },
    "apps/v1": {"deployments": "Deployment"},
    "batch/v1": {"jobs": "Job"},
    "keda.sh/v1alpha1": {
        "scaledobjects": "ScaledObject",
        "triggerauthentications": "TriggerAuthentication",
    },
    "networking.k8s.io/v1": {"ingresses": "Ingress", "networkpolicies": "NetworkPolicy"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
    "rbac.authorization.k8s.io/v1": {"roles": "Role", "rolebindings": "RoleBinding"},
}
VERBS = ["create", "get", "list", "patch", "update"]
Json = dict[str, Any]


def release_in(body: bytes) -> Json:
    """Return the release in a Secret of Helm's, which comes as a protocol buffer."""
    packed = re.findall(rb"H4sI[\w+/]+=*", body)[0]  # gzip, in base 64
    release: Json = json.loads(gzip.decompress(base64.b64decode(packed)))
    return release


def discovery() -> Mapping[str, Json]:
    """Return what a client asks for to learn of kinds, by path."""
    documents: dict[str, Json] = {
        "/version": {"major": "1", "minor": VERSION.split(".")[1], "gitVersion": VERSION},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
    }
    groups = []
    for name, resources in RESOURCES.items():
        group, _, version = name.rpartition("/")
        if group:
            this = {"groupVersion": name, "version": version}
            groups.append({"name": group, "versions": [this], "preferredVersion": this})
        documents[f"/apis/{name}" if group else f"/api/{name}"] = {
            "kind": "APIResourceList",
            "groupVersion": name,
            "resources": [
                {"name": plural, "namespaced": True, "kind": kind, "verbs": VERBS}
                for plural, kind in resources.items()
            ],
        }
    documents["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    return documents


@contextmanager
def no_cluster() -> Iterator[tuple[str, Sequence[Json]]]:
    """Serve it; yields its address, and the list that releases are put in."""
    releases: list[Json] = []
    documents = discovery()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path in documents:
                self._answer(HTTPStatus.OK, documents[path])
            elif path.endswith("/secrets"):
                self._answer(HTTPStatus.OK, {"kind": "SecretList", "apiVersion": "v1", "items": []})
            else:
                self._answer(HTTPStatus.NOT_FOUND)

        def do_POST(self) -> None:
            releases.append(release_in(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(HTTPStatus.FORBIDDEN)  # that was all

        def _answer(self, code: HTTPStatus, document: Json | None = None) -> None:
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
            if code == HTTPStatus.NOT_FOUND:
                status["reason"] = "NotFound"
            body = json.dumps(document or status).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", releases
        finally:
            server.shutdown()
