"""What an hour of a device costs, for who measures and books nothing."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sqlalchemy.engine import make_url

from shared.db.engine import Database
from shared.db.migrate import prepare
from shared.db.prices import price_in_force
from shared.settings import Settings

IN_MEMORY = "sqlite://"


class HourlyPrice(NamedTuple):
    """Nano-dollars an hour, and where the figure is from."""

    nanodollars_per_hour: int
    source: str


def look_up_price(settings: Settings, device_kind: str) -> HourlyPrice:
    """Return the price in force now, or that of a new database where there is none yet.

    A database file that is not there is not made.

    Args:
        settings: name the database, and what was bought.
        device_kind: such as cpu.

    Raises:
        ConfigurationError: the database's tables are not for this version.
        MissingPriceError: nobody has set a price for such a device.
        ServiceUnavailableError: the database does not answer.
    """
    url, sku = settings.resolved_database_url, settings.device_sku
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite"
    if is_file and not Path(parsed.database or "").is_file():
        return HourlyPrice(_read_price(IN_MEMORY, device_kind, sku), "the example that ships")
    price = _read_price(url, device_kind, sku, may_migrate=settings.migrate_at_start)
    return HourlyPrice(price, "the database's price book")


def _read_price(database_url: str, device_kind: str, sku: str, *, may_migrate: bool = True) -> int:
    database = Database(database_url)
    try:
        prepare(database, may_migrate=may_migrate)
        with database.read() as session:
            return price_in_force(session, device_kind, sku, database.now(session))
    finally:
        database.close()
