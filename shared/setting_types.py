"""What settings may be: names, and URLs of what tenstep works with."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode


def _driver_is_named(url: SecretStr) -> SecretStr:
    scheme = url.get_secret_value().split("://")[0]
    if scheme not in {"sqlite", "postgresql+psycopg"}:
        raise ValueError("must start with sqlite:/// or postgresql+psycopg://")
    return url


def _broker_is_redis(url: SecretStr) -> SecretStr:
    scheme = url.get_secret_value().split("://")[0]
    if scheme not in {"redis", "rediss", "redis+socket"}:
        raise ValueError("must start with redis://, rediss:// or redis+socket://")
    return url


def _store_is_known(url: str) -> str:
    if not url.startswith(("s3://", "file:///")):
        raise ValueError("must start with s3:// or file:///")
    return url


def _server_is_http(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return url.rstrip("/")


def _listed(names: object) -> object:
    """Read names from a variable: a JSON list, or names with commas between them."""
    if not isinstance(names, str):
        return names
    if names.lstrip().startswith("["):
        return json.loads(names)
    return [name.strip() for name in names.split(",") if name.strip()]


Backend = Literal["auto", "torch", "onnxruntime", "qaic"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_driver_is_named)]
RedisUrl = Annotated[SecretStr, AfterValidator(_broker_is_redis)]
StorageUrl = Annotated[str, AfterValidator(_store_is_known)]
ServerUrl = Annotated[str, AfterValidator(_server_is_http)]
ModelName = Annotated[str, Field(min_length=1, max_length=200)]
ModelNames = Annotated[tuple[ModelName, ...], NoDecode, BeforeValidator(_listed)]
TenantWeight = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
