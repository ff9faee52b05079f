"""The one place that reads the environment, ``TENSTEP_*``, and files of secrets of these names."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from shared.errors import ConfigurationError
from shared.setting_types import (
    Backend,
    DatabaseUrl,
    ModelNames,
    Precision,
    RedisUrl,
    ServerUrl,
    StorageUrl,
    TenantWeight,
)

PREFIX = "TENSTEP_"


class Settings(BaseSettings):
    """Where things are and how they behave. With nothing set, all of it is local.

    URLs may hold passwords, so they are secrets: masked in every repr and log.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    data_dir: Path = Field(
        default=Path("tenstep-data"),
        description="Folder of the local database, store, embedded Redis and logs.",
    )
    database_url: DatabaseUrl | None = Field(
        default=None, description="SQL that holds the truth. Default: SQLite in the data folder."
    )
    migrate_at_start: bool = Field(
        default=True,
        description="Whether every command brings an older database to its tables; where several "
        "hosts share one, false leaves that to tenstep migrate.",
    )
    storage_url: StorageUrl | None = Field(
        default=None,
        description="s3://bucket/prefix or file:///folder. Default: the data folder.",
    )
    redis_url: RedisUrl | None = Field(
        default=None, description="Broker. Default: a Redis that tenstep starts itself."
    )
    redis_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Loopback port of the embedded Redis; 0 listens on a Unix socket alone.",
    )
    redis_key_prefix: str = Field(
        default="tenstep:", max_length=64, description="Keeps deployments on one Redis apart."
    )
    s3_endpoint_url: str | None = Field(default=None, description="For stores other than AWS.")
    s3_region: str = Field(default="us-east-1")
    s3_access_key_id: SecretStr | None = Field(
        default=None, description="Default: the AWS SDK's own chain of credentials."
    )
    s3_secret_access_key: SecretStr | None = None

    model: str = Field(default="emoji-64", max_length=200, description="Model of new batches.")
    also_models: ModelNames = Field(
        default=(),
        max_length=64,
        description="Further models that a worker serves, with commas or as a JSON list; each is "
        "loaded when the first chunk of it comes.",
    )
    model_memory_bytes: int = Field(
        default=0,
        ge=0,
        description="Memory of a device that the models in it may take; the one that was not used "
        "longest makes way. 0: as much as the device has, of RAM 80 %.",
    )
    models_dir: Path | None = Field(
        default=None, description="Folder of pulled models. Default: models in the data folder."
    )
    backend: Backend = Field(
        default="auto",
        description="torch, onnxruntime or qaic; auto is qaic on its cards, elsewhere what the "
        "model's folder is made for.",
    )
    precision: Precision = Field(
        default="auto",
        description="float32, float16 or bfloat16; auto is float32 on cpu, float16 on cuda.",
    )
    torch_compile: bool = Field(
        default=False,
        description="Have torch compile denoiser and decoder, at the first image of each size; "
        "what it made is kept in the data folder.",
    )
    winograd: bool = Field(
        default=True,
        description="Have torch convolve by Winograd's filters on the processor; they take up to "
        "half of the memory that is free when a model is loaded.",
    )
    unchecked_batches: bool = Field(
        default=False,
        description="For operators: lets batches be submitted without the safety checker.",
    )
    device: str = Field(
        default="cpu",
        max_length=4096,
        description="What workers are pinned to: cpu, cuda:0, …, several with commas, or auto.",
    )
    device_sku: str = Field(
        default="",
        max_length=64,
        description="What was bought, such as g5.xlarge, as the price book has it.",
    )
    cpu_threads: int = Field(default=0, ge=0, le=1024, description="0: workers share the cores.")

    simulated_image_seconds: float = Field(
        default=0.02, ge=0, le=3600, description="Device time of an image on a simulated device."
    )
    simulated_pass_seconds: float = Field(
        default=0, ge=0, le=3600, description="What a pass takes beside its images."
    )
    simulated_load_seconds: float = Field(
        default=0, ge=0, le=3600, description="What a simulated device takes to load a model."
    )
    simulated_store_seconds: float = Field(
        default=0,
        ge=0,
        le=60,
        description="What storing an image of a simulated device takes beside the store's time.",
    )
    simulated_images: int = Field(
        default=0, ge=0, description="Images a pass that a simulated device holds; 0: any."
    )

    chunk_size: int = Field(default=8, ge=1, le=1024, description="Jobs a queue message.")
    look_ahead: int = Field(
        default=3, ge=1, le=100, description="Chunks kept in Redis for each live worker."
    )
    max_attempts: int = Field(default=4, ge=1, le=100, description="Then a job has failed.")
    lease_seconds: float = Field(
        default=30, gt=0, le=3600, description="A silent worker loses its jobs after this."
    )
    heartbeat_seconds: float = Field(
        default=5, gt=0, le=600, description="How often a worker renews its leases."
    )
    dispatch_seconds: float = Field(
        default=0.25, gt=0, le=60, description="How often the dispatcher looks at the queue."
    )
    dispatcher_lease_seconds: float = Field(
        default=3,
        gt=0,
        le=60,
        description="Of several dispatchers one leads; another takes over after this silence.",
    )
    tenant_weights: dict[str, TenantWeight] = Field(
        default_factory=dict,
        description='Shares of the fleet, such as {"studio": 3}; whoever is not named has 1.',
    )
    chunk_time_limit_seconds: float = Field(
        default=900, gt=0, description="A chunk that runs longer has hung: its process is killed."
    )
    images_per_pass: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Images drawn as one batch; 0 is 1 on cpu, and a whole chunk elsewhere.",
    )
    outage_patience_seconds: float = Field(
        default=120, ge=0, le=86_400, description="How long a worker waits for SQL or the store."
    )
    recycle_after_images: int = Field(
        default=0, ge=0, description="Then a worker's process makes way for a new one; 0: never."
    )
    recycle_over_bytes: int = Field(
        default=0, ge=0, description="Of memory in RAM: the same once it holds more; 0: never."
    )
    device_retry_seconds: float = Field(
        default=60,
        gt=0,
        le=86_400,
        description="How often a device that was faulty is tried again.",
    )
    stop_grace_seconds: float = Field(
        default=30, gt=0, le=3600, description="A stopping worker's time to give back its jobs."
    )
    thumbnails: bool = Field(
        default=True,
        description="Workers store a thumbnail with each image, one more PUT; without, servers "
        "make those that somebody looks at.",
    )

    traces: bool = Field(
        default=False,
        description="Send OpenTelemetry traces, where and how the variables OTEL_* say; needs "
        "tenstep[telemetry].",
    )

    server: ServerUrl | None = Field(
        default=None,
        description="For the command line: a tenstep server to work with, such as "
        "https://tenstep.example. Default: the database and the store themselves.",
    )
    api_key: SecretStr | None = Field(default=None, description="Key for that server.")
    public_url: ServerUrl | None = Field(
        default=None,
        description="For servers: what clients call them by. Default: as the request has it.",
    )
    redirect_images: bool = Field(
        default=True,
        description="Servers send clients to object storage for images; without, they pass images "
        "on, from a store that clients do not reach.",
    )
    url_hours: float = Field(
        default=168, gt=0, le=8760, description="How long the URLs of images in results are good."
    )
    session_hours: float = Field(
        default=12, gt=0, le=8760, description="How long one stays signed in to the dashboard."
    )
    max_upload_bytes: int = Field(
        default=16 * 2**30, ge=1, description="Of one file that is uploaded."
    )
    max_requests_per_minute: int = Field(
        default=6_000, ge=1, description="Of a key of the API that has no limit of its own."
    )
    max_open_batches: int = Field(
        default=1_000, ge=1, description="Of a tenant, asked for over the API and not ended."
    )
    max_open_jobs: int = Field(
        default=50_000_000, ge=1, description="Of a tenant: images that are still to be drawn."
    )
    interactive_seconds: float = Field(
        default=120, gt=0, le=3600, description="How long a request waits for its images."
    )
    request_patience_seconds: float = Field(
        default=30,
        gt=0,
        le=3600,
        description="How long a client may keep silent in the middle of a request.",
    )
    webhooks_to_private_addresses: bool = Field(
        default=False, description="For operators: lets webhooks go to hosts of the own network."
    )

    @property
    def resolved_database_url(self) -> str:
        """SQLAlchemy URL, in clear."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.local_database.absolute()}"

    @property
    def local_database(self) -> Path:
        """The file of a database that nobody named."""
        return self.data_dir / "tenstep.sqlite3"

    @property
    def resolved_models_dir(self) -> Path:
        """Where pulled models are kept."""
        return self.models_dir or self.data_dir / "models"

    @property
    def served_models(self) -> Sequence[str]:
        """The models that a worker serves: the first is loaded before it says that it is ready."""
        return tuple(dict.fromkeys((self.model, *self.also_models)))

    @property
    def resolved_storage_url(self) -> str:
        """Object store URL."""
        return self.storage_url or (self.data_dir / "objects").absolute().as_uri()


SECRETS_DIR = "TENSTEP_SECRETS_DIR"
"""Names the folder of secrets. It is no setting of its own: it is needed to read them."""
USUAL_SECRETS_DIR = Path("/run/secrets")
"""Where container engines put them; it need not be there."""


def load_settings() -> Settings:
    """Read the environment, and for what it lacks the folder of secrets.

    A file of that folder is named as the variable is, ``tenstep_database_url`` or in capitals,
    and holds its value.

    Raises:
        ConfigurationError: a variable or a file has a bad value; names it, never shows secrets.
    """
    try:
        return Settings(_secrets_dir=_secrets_dir())
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename}: {error.strerror}",
            hint="The user of this process must be able to read the files of secrets.",
        ) from None
    except SettingsError as error:
        name = re.findall(r'"(\w+)"', str(error))[0]
        raise ConfigurationError(f"TENSTEP_{name.upper()}: is not JSON") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        variable, *inside = map(str, first["loc"])
        where = ": ".join([f"TENSTEP_{variable.upper()}", *inside])
        raise ConfigurationError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def _secrets_dir() -> Path | None:
    named = os.environ.get(SECRETS_DIR)
    folder = Path(named) if named else USUAL_SECRETS_DIR
    if named and not folder.is_dir():
        raise ConfigurationError(f"{SECRETS_DIR}: {folder} is no folder")
    # The usual one may be there for others than this user.
    return folder if named or os.access(folder, os.R_OK | os.X_OK) else None


def shown_devices() -> Mapping[str, str]:
    """Return the part of the environment that says which CUDA devices may be seen."""
    return {name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES",) if name in os.environ}


def kubernetes_address() -> tuple[str, str] | None:
    """Return host and port of the API server, as Kubernetes tells every process in a pod."""
    names = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
    host, port = (os.environ.get(name, "") for name in names)
    return (host, port) if host and port else None


WORKER_ID = "TENSTEP_WORKER_ID"
STARTER_PID = "TENSTEP_STARTER_PID"
WORKER_WAITS = "TENSTEP_WORKER_WAITS"


def set_variables() -> Sequence[str]:
    """Return the names of the variables that somebody set as settings, known or not."""
    named = {name for name in os.environ if name.upper().startswith(PREFIX)}
    return sorted(named - {WORKER_ID, STARTER_PID, WORKER_WAITS, SECRETS_DIR})


def child_environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with these settings in it, for a process of its own."""
    environment = dict(os.environ)
    for name, value in settings:
        if value is None:
            environment.pop(f"TENSTEP_{name.upper()}", None)
        else:
            environment[f"TENSTEP_{name.upper()}"] = _as_text(value)
    environment["TENSTEP_DATA_DIR"] = str(settings.data_dir.absolute())
    if settings.models_dir is not None:
        environment["TENSTEP_MODELS_DIR"] = str(settings.models_dir.absolute())
    environment[STARTER_PID] = str(os.getpid())
    return environment


def worker_environment(
    settings: Settings, worker_ids: Sequence[UUID], *, waits: bool = False
) -> dict[str, str]:
    """Return such an environment for a worker's process, with an id for each of its devices.

    Args:
        settings: the worker's.
        worker_ids: one a device.
        waits: whether it waits for a byte on its standard input before it begins.
    """
    environment = {**child_environment(settings), WORKER_ID: ",".join(map(str, worker_ids))}
    return {**environment, WORKER_WAITS: "1"} if waits else environment


def _as_text(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case dict() | tuple():
            return json.dumps(value)
        case _:
            return str(value)


def assigned_worker_ids() -> Sequence[UUID]:
    """Return the ids that the process which started this one gave it, one a device."""
    return [UUID(text) for text in os.environ[WORKER_ID].split(",")]


def waits_to_begin() -> bool:
    """Tell whether this worker is to wait for a byte on its standard input."""
    return WORKER_WAITS in os.environ


def starter_pid() -> int:
    """Return which process started this one; unlike its parent that never changes.

    A starter that dies at once is gone before this process can ask for its parent.
    """
    return int(os.environ.get(STARTER_PID, os.getppid()))
