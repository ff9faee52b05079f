"""Settings from the environment."""

from __future__ import annotations

import traceback
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import ValidationError

from shared.errors import ConfigurationError
from shared.settings import (
    Settings,
    assigned_worker_ids,
    load_settings,
    worker_environment,
)

SECRET = "correct-horse-battery"
SECRETS = {
    "TENSTEP_DATABASE_URL": f"postgresql+psycopg://me:{SECRET}@db.example/tenstep",
    "TENSTEP_REDIS_URL": f"redis://:{SECRET}@redis.example:6379/0",
    "TENSTEP_S3_ACCESS_KEY_ID": SECRET,
    "TENSTEP_S3_SECRET_ACCESS_KEY": SECRET,
}


def test_with_nothing_set_all_of_it_is_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()

    data = tmp_path / "tenstep-data"
    assert settings.resolved_database_url == f"sqlite:///{data}/tenstep.sqlite3"
    assert settings.resolved_storage_url == (data / "objects").as_uri()
    assert settings.redis_url is None
    assert settings.device == "cpu"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TENSTEP_DATABASE_URL", "postgresql://me:pw@host/db"),
        ("TENSTEP_DATABASE_URL", "mysql://host/db"),
        ("TENSTEP_DATABASE_URL", ""),
        ("TENSTEP_STORAGE_URL", "https://bucket"),
        ("TENSTEP_STORAGE_URL", "relative/folder"),
        ("TENSTEP_REDIS_URL", "amqp://host"),
        ("TENSTEP_REDIS_PORT", "65536"),
        ("TENSTEP_REDIS_PORT", "six"),
        ("TENSTEP_CHUNK_SIZE", "0"),
        ("TENSTEP_LEASE_SECONDS", "0"),
        ("TENSTEP_LEASE_SECONDS", "nan"),
        ("TENSTEP_MAX_ATTEMPTS", "1.5"),
        ("TENSTEP_TENANT_WEIGHTS", '{"studio": 3'),
        ("TENSTEP_TENANT_WEIGHTS", "[3]"),
        ("TENSTEP_ALSO_MODELS", '["small"'),
        ("TENSTEP_MODEL_MEMORY_BYTES", "-1"),
        ("TENSTEP_TENANT_WEIGHTS: studio", '{"studio": 0}'),
    ],
)
def test_a_bad_value_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name.partition(":")[0], value)

    with pytest.raises(ConfigurationError, match=rf"^{name}: ") as caught:
        load_settings()
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["small, large", '["small", "large"]', "small,base,large"])
def test_the_further_models_of_a_worker_are_a_list(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TENSTEP_MODEL", "base")
    monkeypatch.setenv("TENSTEP_ALSO_MODELS", text)
    settings = load_settings()

    assert settings.served_models[0] == "base"
    assert {*settings.served_models} == {"base", "small", "large"}
    assert len(settings.served_models) == 3
    handed_on = worker_environment(settings, [uuid4()])["TENSTEP_ALSO_MODELS"]
    monkeypatch.setenv("TENSTEP_ALSO_MODELS", handed_on)
    assert load_settings().also_models == settings.also_models


def test_a_url_with_a_bad_scheme_is_told_which_are_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSTEP_REDIS_URL", "amqp://host")

    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(caught.value) == (
        "TENSTEP_REDIS_URL: must start with redis://, rediss:// or redis+socket://"
    )


def test_secrets_are_masked_wherever_settings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()

    for shown in (repr(settings), str(settings), settings.model_dump_json(), f"{settings!r}"):
        assert SECRET not in shown
    assert SECRET in settings.resolved_database_url


@pytest.mark.parametrize("name", ["TENSTEP_DATABASE_URL", "TENSTEP_REDIS_URL"])
def test_a_bad_value_is_not_shown_for_it_may_hold_a_password(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, f"wrong://me:{SECRET}@host")

    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_settings_cannot_be_changed() -> None:
    settings = Settings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.device = "cuda:0"


def test_a_worker_process_is_given_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TENSTEP_LEASE_SECONDS", "7.5")
    monkeypatch.setenv("TENSTEP_TENANT_WEIGHTS", '{"studio": 3}')
    settings, worker_id, another_id = load_settings(), uuid4(), uuid4()
    environment = worker_environment(settings, [worker_id, another_id])
    for name in SECRETS:
        monkeypatch.delenv(name)

    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert assigned_worker_ids() == [worker_id, another_id]
    given = load_settings()
    assert given.model_copy(update={"data_dir": settings.data_dir}) == settings
    assert given.data_dir == settings.data_dir.absolute()


def test_what_the_environment_lacks_is_read_from_files_of_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        (tmp_path / name.lower()).write_text(f"{value}\n")
    (tmp_path / "postgres_password").write_text("somebody else's")
    monkeypatch.setenv("TENSTEP_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("TENSTEP_REDIS_URL", "redis://nearer.example:6379/0")
    settings = load_settings()

    assert settings.resolved_database_url == SECRETS["TENSTEP_DATABASE_URL"]
    assert settings.s3_secret_access_key is not None
    assert settings.s3_secret_access_key.get_secret_value() == SECRET
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://nearer.example:6379/0"
    assert SECRET not in repr(settings)


def test_a_bad_value_in_a_file_names_its_variable_and_does_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tenstep_database_url").write_text(f"wrong://me:{SECRET}@host")
    monkeypatch.setenv("TENSTEP_SECRETS_DIR", str(tmp_path))

    with pytest.raises(ConfigurationError, match=r"^TENSTEP_DATABASE_URL: ") as caught:
        load_settings()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_folder_of_secrets_that_is_named_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSTEP_SECRETS_DIR", str(tmp_path / "none"))

    with pytest.raises(ConfigurationError, match=r"^TENSTEP_SECRETS_DIR: .*none is no folder"):
        load_settings()
