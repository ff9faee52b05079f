"""``tenstep migrate``: the database's tables."""

from __future__ import annotations

from producer.cli import options
from producer.cli.console import print_json, say


def migrate(*, as_json: options.Json = False) -> None:
    """Bring the database to this version's tables.

    Other commands do so too, unless TENSTEP_MIGRATE_AT_START=false; this does only that.
    Processes of the release before may go on meanwhile.
    """
    from producer.cli.database import opened
    from shared.settings import load_settings

    with opened(load_settings(), may_create=True, migrates=True) as database:
        url = database.display_url
    if as_json:
        print_json({"database": url})
    else:
        say(f"{url} has this version's tables")
