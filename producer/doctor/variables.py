"""The settings: are all of them known, and do they agree with each other?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from producer.doctor.finding import Finding, fault, fine, warning
from shared.settings import PREFIX, Settings, set_variables

VARIABLES = "variables"
SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)|_PORT$|_PORT_\d+_")
"""How Kubernetes names what it tells pods of each Service."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Settings that do not agree."""

    found: str
    remedy: str


def check_variables(check: str) -> Finding:
    """Find variables that look like settings, and that nothing reads."""
    known = [name.upper() for name in Settings.model_fields]
    names = set_variables()
    unknown = [name for name in names if _bare(name) not in known]
    if not unknown:
        return fine(check, f"{len(names) or 'none'} set that begin with {PREFIX}")
    remedies = dict.fromkeys(_remedy(name, known) for name in unknown)
    return warning(check, f"nothing reads {', '.join(unknown)}", " ".join(remedies))


def _remedy(name: str, known: Sequence[str]) -> str:
    if SERVICE_LINK.search(name):
        return (
            "Kubernetes sets variables for a Service whose name begins with tenstep, and may hide "
            "settings behind them: enableServiceLinks: false in the pod turns that off."
        )
    likely = get_close_matches(_bare(name), known, n=1)
    return f"{name}: did you mean {PREFIX}{likely[0]}?" if likely else f"Unset {name}."


def _bare(name: str) -> str:
    return name.upper().removeprefix(PREFIX)


def check_settings(check: str, settings: Settings) -> Finding:
    """Find settings that contradict each other."""
    wrong, doubtful = list(_wrong(settings)), list(_doubtful(settings))
    if not wrong and not doubtful:
        return fine(check, _told(settings))
    troubles = [*wrong, *doubtful]
    make = fault if wrong else warning
    found = "; ".join(trouble.found for trouble in troubles)
    return make(check, found, " ".join(trouble.remedy for trouble in troubles))


def _told(settings: Settings) -> str:
    count = len(settings.model_fields_set)
    return f"{count} set, the others at their defaults" if count else "all at their defaults"


def _wrong(settings: Settings) -> Iterator[Trouble]:
    """Find what cannot work."""
    if settings.heartbeat_seconds >= settings.lease_seconds:
        yield Trouble(
            f"leases of {settings.lease_seconds:g} s end before they are renewed, "
            f"every {settings.heartbeat_seconds:g} s",
            remedy="Set TENSTEP_HEARTBEAT_SECONDS to a third of TENSTEP_LEASE_SECONDS or less.",
        )
    if (settings.s3_access_key_id is None) != (settings.s3_secret_access_key is None):
        yield Trouble(
            "of TENSTEP_S3_ACCESS_KEY_ID and TENSTEP_S3_SECRET_ACCESS_KEY one alone is set",
            remedy="Set both, or neither: then the AWS SDK looks for credentials itself.",
        )


def _doubtful(settings: Settings) -> Iterator[Trouble]:
    """Find what works, and may not be meant so."""
    if settings.redis_url is not None and settings.redis_port:
        yield Trouble(
            "TENSTEP_REDIS_PORT is of tenstep's own Redis, and TENSTEP_REDIS_URL names another",
            remedy="Unset one of them.",
        )
    if _is_folder(settings) and (settings.s3_endpoint_url or settings.s3_access_key_id):
        yield Trouble(
            "TENSTEP_S3_… is set, and images are kept in a folder",
            remedy="Set TENSTEP_STORAGE_URL=s3://bucket/prefix, or unset TENSTEP_S3_….",
        )
    if settings.server is not None:
        yield Trouble(
            "TENSTEP_SERVER is set: most commands work through that server, and this one looks "
            "at what is here",
            remedy="To check the server, run tenstep doctor on its host.",
        )
    yield from _half_shared(settings)


def _half_shared(settings: Settings) -> Iterator[Trouble]:
    """Find services that other hosts can reach beside some that they cannot."""
    is_local = {
        "TENSTEP_DATABASE_URL": settings.resolved_database_url.startswith("sqlite"),
        "TENSTEP_REDIS_URL": settings.redis_url is None,
        "TENSTEP_STORAGE_URL": _is_folder(settings),
    }
    local = [name for name, is_so in is_local.items() if is_so]
    if 0 < len(local) < len(is_local):
        shared = [name for name in is_local if name not in local]
        yield Trouble(
            f"{_listed(shared)} can be another host's, {_listed(local)} cannot",
            remedy="Fine on one host. For workers on others name Postgres, Redis and S3, or a "
            "folder that all of them mount.",
        )


def _is_folder(settings: Settings) -> bool:
    return settings.resolved_storage_url.startswith("file:")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)
