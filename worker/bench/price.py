"""What an hour of a device costs, for who measures and books nothing."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sqlalchemy.engine import make_url

from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.prices import price_in_force

IN_MEMORY = "sqlite://"


class HourlyPrice(NamedTuple):
    """Nano-dollars an hour, and where the figure is from."""

    nanodollars_per_hour: int
    source: str


def look_up_price(database_url: str, device_kind: str, sku: str) -> HourlyPrice:
    """Return the price in force now, or that of a new database where there is none yet.

    A database file that is not there is not made.

    Args:
        database_url: SQLAlchemy's.
        device_kind: such as cpu.
        sku: what was bought, as the price book has it; empty for what says nothing.

    Raises:
        MissingPriceError: nobody has set a price for such a device.
        ServiceUnavailableError: the database does not answer.
    """
    parsed = make_url(database_url)
    is_file = parsed.get_backend_name() == "sqlite"
    if is_file and not Path(parsed.database or "").is_file():
        return HourlyPrice(_read_price(IN_MEMORY, device_kind, sku), "the example that ships")
    return HourlyPrice(_read_price(database_url, device_kind, sku), "the database's price book")


def _read_price(database_url: str, device_kind: str, sku: str) -> int:
    database = Database(database_url)
    try:
        migrate(database)
        with database.read() as session:
            return price_in_force(session, device_kind, sku, database.now(session))
    finally:
        database.close()
