"""Where a producer's own log goes: a file, for the terminal belongs to the user."""

from __future__ import annotations

from shared.settings import Settings
from shared.telemetry.logs import configure_logs


def log_to_file(settings: Settings) -> None:
    """Append this process's log to ``<data_dir>/logs/producer.log``."""
    folder = settings.data_dir / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    configure_logs((folder / "producer.log").open("a", encoding="utf-8"))
