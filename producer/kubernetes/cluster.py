"""The API server of the cluster that this process runs in, and what is needed to speak to it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from shared.errors import ConfigurationError
from shared.settings import kubernetes_address
from shared.version import VERSION

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts a pod's token, the certificate of its API server's authority, and the
pod's namespace."""
CONNECT_SECONDS = 5
ANSWER_SECONDS = 30
OUTSIDE = "It works in a pod alone, with a service account whose token is mounted."


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the API server is, and where the credentials are: they are read when needed."""

    url: str
    folder: Path

    @classmethod
    def around(cls, folder: Path = SERVICE_ACCOUNT) -> Cluster:
        """Find the cluster that this process runs in.

        Args:
            folder: has the files ``token``, ``ca.crt`` and ``namespace``.

        Raises:
            ConfigurationError: it runs in none, or has no service account's token.
        """
        address = kubernetes_address()
        if address is None:
            raise ConfigurationError("this process runs in no Kubernetes cluster", hint=OUTSIDE)
        host, port = address
        cluster = cls(f"https://{f'[{host}]' if ':' in host else host}:{port}", folder)
        cluster._token()
        return cluster

    @property
    def namespace(self) -> str:
        """The pod's own namespace."""
        return self._read("namespace")

    @contextmanager
    def opened(self) -> Iterator[httpx.Client]:
        """Make a client with the token and the authority of now: Kubernetes renews both.

        Raises:
            ConfigurationError: a file is not there, or is not what it should be.
        """
        with httpx.Client(
            base_url=self.url,
            headers={
                "Authorization": f"Bearer {self._token()}",
                "User-Agent": f"tenstep/{VERSION}",
            },
            verify=self._authority(),
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            # A proxy of the environment would be given the token.
            trust_env=False,
        ) as client:
            yield client

    def _token(self) -> str:
        token = self._read("token")
        if not token.isascii() or not token.isprintable():
            raise ConfigurationError(f"{self.folder / 'token'}: is no token")
        return token

    def _authority(self) -> ssl.SSLContext:
        path = self.folder / "ca.crt"
        try:
            return ssl.create_default_context(cafile=path)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"{path}: {error.strerror or error}", hint=OUTSIDE) from None

    def _read(self, name: str) -> str:
        path = self.folder / name
        try:
            text = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is no text"
            raise ConfigurationError(f"{path}: {reason}", hint=OUTSIDE) from None
        if not text:
            raise ConfigurationError(f"{path}: is empty", hint=OUTSIDE)
        return text
