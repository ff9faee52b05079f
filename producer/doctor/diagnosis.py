"""All checks of an installation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from producer.doctor.database import DATABASE_CHECKS, examine_database
from producer.doctor.devices import DEVICE_CHECKS, examine_devices
from producer.doctor.examination import Examination, run_all
from producer.doctor.finding import Finding, fault, skipped
from producer.doctor.models import examine_models, model_checks
from producer.doctor.redis import REDIS_CHECKS, examine_redis
from producer.doctor.storage import STORAGE_CHECKS, examine_storage
from producer.doctor.variables import VARIABLES, check_settings, check_variables
from producer.doctor.versions import VERSION_CHECKS, examine_versions
from shared.errors import ConfigurationError
from shared.settings import Settings, load_settings

SETTINGS = "settings"
DEVICE_SECONDS = 60.0
"""Drivers may take long to answer, and torch to be read from a cold disk."""


def diagnose(seconds: float) -> Iterator[Finding]:
    """Check everything, whatever else fails; a group of checks that hangs is left alone.

    Args:
        seconds: how long a group may take, such as all checks of Redis.
    """
    yield check_variables(VARIABLES)
    try:
        settings = load_settings()
    except ConfigurationError as error:
        yield fault(SETTINGS, error.message, error.hint or "Correct that variable, or unset it.")
        for check in (*DATABASE_CHECKS, *REDIS_CHECKS, *STORAGE_CHECKS, *DEVICE_CHECKS, "models"):
            yield skipped(check, f"not looked at, see {SETTINGS}")
        yield from run_all([Examination(VERSION_CHECKS, examine_versions, seconds)])
        return
    yield check_settings(SETTINGS, settings)
    yield from run_all(_examinations(settings, seconds))


def _examinations(settings: Settings, seconds: float) -> Sequence[Examination]:
    at_devices = max(seconds, DEVICE_SECONDS)
    return [
        Examination(DATABASE_CHECKS, partial(examine_database, settings), seconds),
        Examination(REDIS_CHECKS, partial(examine_redis, settings), seconds),
        Examination(STORAGE_CHECKS, partial(examine_storage, settings), seconds),
        Examination(DEVICE_CHECKS, partial(examine_devices, settings, at_devices), at_devices),
        Examination(model_checks(settings), partial(examine_models, settings), seconds),
        Examination(VERSION_CHECKS, examine_versions, seconds),
    ]
