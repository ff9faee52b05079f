"""The database: does it answer, with this version's tables, and what do its books lack?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from producer.doctor.books import check_faulty_devices, check_prices, check_workers
from producer.doctor.finding import Finding, Verdict, fault, fine, skipped, warning
from producer.doctor.folders import why_not_writable
from shared.clock import utc_now
from shared.db.engine import Database, shown_url
from shared.db.migrate import current_revision, is_compatible, known_revisions
from shared.errors import ConfigurationError, ServiceUnavailableError
from shared.settings import Settings

DATABASE_CHECKS = (
    *("database", "revision", "connections", "clock"),
    *("prices", "workers", "faulty devices"),
)
DATABASE, REVISION, CONNECTIONS, CLOCK, PRICES, WORKERS, FAULTY_DEVICES = DATABASE_CHECKS
VERSION = {"postgresql": "SHOW server_version", "sqlite": "SELECT sqlite_version()"}
SAID = {"postgresql": "Postgres", "sqlite": "SQLite"}
MOST_SECONDS_APART = 5
MOST_IN_USE_PERCENT = 80


def examine_database(settings: Settings) -> Iterator[Finding]:
    """Look at it without changing anything.

    Raises:
        ConfigurationError: its URL cannot be read.
        ServiceUnavailableError: it does not answer.
    """
    url = _parsed(settings.resolved_database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        refusal = _check_file(path)
        if refusal is not None or not path.exists():
            yield refusal or fine(DATABASE, "no batch yet: the first command makes the file")
            return
    database = Database(settings.resolved_database_url)
    try:
        yield from _look(database, settings)
    except DBAPIError as error:
        raise _refusal(error) from None
    finally:
        database.close()


def _parsed(url: str) -> URL:
    """Read a URL; what is wrong with it is not quoted, for its password may be the reason."""
    remedy = "In a user's name and a password write @ as %40, / as %2F, : as %3A, % as %25."
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError("TENSTEP_DATABASE_URL is no URL", hint=remedy) from None
    behind_the_password = f"{parsed.host}{parsed.database}"
    if parsed.get_backend_name() != "sqlite" and "@" in behind_the_password:
        raise ConfigurationError("TENSTEP_DATABASE_URL has more than one @", hint=remedy)
    return parsed


def _check_file(path: Path) -> Finding | None:
    why_not = why_not_writable(path.parent)
    if why_not is None and path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
        why_not = f"{path} cannot be written to"
    if why_not is None:
        return None
    return fault(DATABASE, why_not, "Let this user write there, or set TENSTEP_DATA_DIR.")


def _refusal(error: DBAPIError) -> ServiceUnavailableError:
    said = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
    return ServiceUnavailableError(
        f"the database refused: {said[0]}", hint="Look at its own log, and at this user's rights."
    )


def _look(database: Database, settings: Settings) -> Iterator[Finding]:
    database.check()
    yield fine(DATABASE, _version(database))
    revision = _check_revision(database)
    yield revision
    yield _check_connections(database)
    yield _check_clock(database)
    if revision.verdict is not Verdict.OK:
        for check in (PRICES, WORKERS, FAULTY_DEVICES):
            yield skipped(check, f"not looked at, see {REVISION}")
        return
    with database.read() as session:
        now = database.now(session)
        yield check_prices(PRICES, session, settings, now)
        yield check_workers(WORKERS, session, settings, now)
        yield check_faulty_devices(FAULTY_DEVICES, session, now)


def _version(database: Database) -> str:
    dialect = database.engine.dialect.name
    with database.read() as session:
        version = str(session.scalar(text(VERSION[dialect]))).split(" ")[0]
    return f"{SAID[dialect]} {version} at {shown_url(database.engine.url)}"


def _check_revision(database: Database) -> Finding:
    found, known = current_revision(database), known_revisions()
    if found == known[-1]:
        return fine(REVISION, f"{found}, as this version wants it")
    if found is None:
        return fault(REVISION, "it has no tables of tenstep's", "Make them: tenstep migrate")
    if found in known:
        behind = len(known) - 1 - known.index(found)
        migrations = "migration" if behind == 1 else "migrations"
        return fault(
            REVISION,
            f"{found}, {behind} {migrations} before {known[-1]}",
            "Bring it to this version's tables: tenstep migrate",
        )
    newer = f"{found} is of a newer tenstep than this, which knows {known[-1]}"
    if is_compatible(database):
        return fine(REVISION, f"{newer} and can work with it")
    return fault(
        REVISION,
        newer,
        "Install that version here, or name another database in TENSTEP_DATABASE_URL.",
    )


def _check_connections(database: Database) -> Finding:
    if database.engine.dialect.name != "postgresql":
        return skipped(CONNECTIONS, "a SQLite file has no limit of them")
    with database.read() as session:
        most = int(session.scalar(text("SHOW max_connections")) or 0)
        clients = text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = :kind")
        in_use = int(session.scalar(clients, {"kind": "client backend"}) or 0)
    found = f"{in_use} of {most} are in use"
    if in_use * 100 < most * MOST_IN_USE_PERCENT:
        return fine(CONNECTIONS, found)
    return warning(
        CONNECTIONS, found, "Raise max_connections of Postgres, or put PgBouncer before it."
    )


def _check_clock(database: Database) -> Finding:
    if database.engine.dialect.name != "postgresql":
        return fine(CLOCK, "this host's: whoever uses a SQLite file is on it")
    with database.read() as session:
        session.connection()
        before = utc_now()
        told = database.now(session)
        after = utc_now()
    apart = (told - (before + (after - before) / 2)).total_seconds()
    if abs(apart) <= MOST_SECONDS_APART:
        return fine(CLOCK, f"{abs(apart):.1f} s from the database's")
    return warning(
        CLOCK,
        f"{abs(apart):,.0f} s {'behind' if apart > 0 else 'ahead of'} the database's",
        "Let NTP set the clocks of both. Leases are by the database's clock in any case; logs, "
        "signed URLs and tenstep gc are not.",
    )
