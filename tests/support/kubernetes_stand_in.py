"""A stand-in for a Kubernetes API server, on loopback by HTTPS: it has pods, and nothing else.

It does what the real one's documentation says of listing and patching pods: bearer tokens,
label selectors, pages, metadata alone, merge patches, and refusals as Status objects.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from producer.kubernetes.pods import DELETION_COST
from shared.domain.identifiers import new_id

NAMESPACE = "render"
LABELS = {"app.kubernetes.io/name": "tenstep", "app.kubernetes.io/component": "worker"}
MERGE_PATCH = "application/merge-patch+json"
METADATA_ALONE = "as=PartialObjectMetadataList"


@dataclass
class StandInApiServer:
    """Pods by name, as JSON, and what may be done with them."""

    folder: Path
    """The service account's: token, certificate of the authority, namespace."""
    port: int = 0
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    token: str = "the-first-token"
    """That is accepted."""
    refuses: set[str] = field(default_factory=set)
    """Verbs that the service account has not been granted."""
    overloaded: int = 0
    """How many of the next requests it has no time for."""
    most_a_page: int = 500
    vanishing: set[str] = field(default_factory=set)
    """Pods that are gone as soon as they have been listed."""
    patched: list[tuple[str, str]] = field(default_factory=list)
    """Names and new costs, in order."""
    pages: list[int] = field(default_factory=list)
    """How many pods each answer to a list had."""

    def add(self, name: str, *, cost: str | None = None, **labels: str) -> None:
        metadata: dict[str, Any] = {
            "name": name,
            "namespace": NAMESPACE,
            "uid": str(new_id()),
            "labels": LABELS | labels,
        }
        if cost is not None:
            metadata["annotations"] = {DELETION_COST: cost, "somebody/else": "kept"}
        self.pods[name] = metadata

    def costs(self) -> Mapping[str, str]:
        """Return the deletion costs that pods have."""
        annotations = {name: pod.get("annotations", {}) for name, pod in self.pods.items()}
        return {
            name: found[DELETION_COST]
            for name, found in annotations.items()
            if DELETION_COST in found
        }

    def renew_token(self, token: str) -> None:
        """Do as Kubernetes does before a token expires; the old one is refused at once."""
        self.token = token
        (self.folder / "token").write_text(token)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process in a pod is told."""
        return {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.port),
        }


@contextmanager
def serving(certificate: Path, key: Path, folder: Path) -> Iterator[StandInApiServer]:
    """Run one for as long as the block lasts.

    Args:
        certificate: for 127.0.0.1; its own authority.
        key: the certificate's.
        folder: becomes the service account's.
    """
    stand_in = StandInApiServer(folder)

    class Handler(_Handler):
        served = stand_in

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    stand_in.port = server.server_port
    folder.mkdir(exist_ok=True)
    (folder / "ca.crt").write_bytes(certificate.read_bytes())
    (folder / "namespace").write_text(NAMESPACE)
    stand_in.renew_token(stand_in.token)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: StandInApiServer
    protocol_version = "HTTP/1.1"
    # A client that does not trust the certificate must not hold up the others.
    timeout = 10

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if self._may("list") and url.path == f"/api/v1/namespaces/{NAMESPACE}/pods":
            self._list({name: values[0] for name, values in parse_qs(url.query).items()})

    def do_PATCH(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._may("patch"):
            return
        if self.headers["Content-Type"] != MERGE_PATCH:
            self._refuse(415, "UnsupportedMediaType", "the body is of an unsupported type")
            return
        name = self.path.rpartition("/")[2]
        pod = self.served.pods.get(name)
        changes = json.loads(body)["metadata"]
        if pod is None:
            self._refuse(404, "NotFound", f'pods "{name}" not found')
        elif changes.get("uid", pod["uid"]) != pod["uid"]:
            self._refuse(409, "Conflict", "the UID in the precondition is another")
        else:
            pod["annotations"] = pod.get("annotations", {}) | changes["annotations"]
            self.served.patched.append((name, changes["annotations"][DELETION_COST]))
            self._json(200, {"kind": "Pod", "metadata": pod})

    def log_message(self, *_: object) -> None:
        pass

    def _list(self, query: Mapping[str, str]) -> None:
        served = self.served
        wanted = [pair.split("=") for pair in query["labelSelector"].split(",")]
        if any(len(pair) != 2 for pair in wanted):
            self._refuse(400, "BadRequest", "unable to parse requirement: no label selector")
            return
        found = [
            pod
            for _, pod in sorted(served.pods.items())
            if all(pod["labels"].get(label) == value for label, value in wanted)
        ]
        begin = int(query.get("continue", 0))
        end = begin + min(int(query["limit"]), served.most_a_page)
        page = found[begin:end]
        served.pages.append(len(page))
        alone = METADATA_ALONE in self.headers["Accept"]
        items = [{"metadata": pod} if alone else {"metadata": pod, "spec": {}} for pod in page]
        self._json(
            200,
            {
                "kind": "PartialObjectMetadataList" if alone else "PodList",
                "metadata": {"continue": str(end)} if end < len(found) else {},
                # As Go writes a list that nobody has put anything in.
                "items": items or None,
            },
        )
        for name in served.vanishing & {pod["name"] for pod in page}:
            del served.pods[name]

    def _may(self, verb: str) -> bool:
        if self.served.overloaded:
            self.served.overloaded -= 1
            self._refuse(429, "TooManyRequests", "too many requests, please try again later")
            return False
        if self.headers.get("Authorization") != f"Bearer {self.served.token}":
            self._refuse(401, "Unauthorized", "Unauthorized")
            return False
        if verb in self.served.refuses:
            who = "system:serviceaccount:render:tenstep-pods"
            self._refuse(403, "Forbidden", f'pods is forbidden: User "{who}" cannot {verb} it')
            return False
        return True

    def _refuse(self, code: int, reason: str, message: str) -> None:
        status = {"kind": "Status", "status": "Failure", "code": code, "reason": reason}
        self._json(code, {**status, "message": message})

    def _json(self, code: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
