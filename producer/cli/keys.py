"""``tenstep keys``: who may use the API, and for what."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from uuid import UUID

import typer

from producer.cli import options
from producer.cli.console import complain, print_json, print_rich, say
from producer.cli.values import label, tenant_name
from shared.domain.access import OF_A_TENANT, Scope
from shared.errors import InputError

CREATE_EPILOG = "Example: tenstep keys create --tenant studio --scope submit --scope read"
LIST_EPILOG = "Example: tenstep keys list --json"
REVOKE_EPILOG = "Example: tenstep keys revoke 0197f3a2-5c1e-7bb0-9f6e-1f2d3c4b5a69"
MAX_DAYS = 3_650

app = typer.Typer(
    name="keys",
    help="Make, list and revoke the keys of the HTTP API.",
    epilog=CREATE_EPILOG,
    no_args_is_help=True,
)

Scopes = Annotated[
    list[Scope] | None,
    typer.Option(
        "--scope",
        help="What it allows; repeatable. Default: submit, read and operate. Admin is everything, "
        "of all tenants.",
    ),
]


@app.command("create", epilog=CREATE_EPILOG)
def create(
    tenant: options.Tenant,
    name: Annotated[str, typer.Option("--name", help="To tell keys apart.")] = "key",
    scope: Scopes = None,
    days: Annotated[
        float | None,
        typer.Option("--days", min=0.001, max=MAX_DAYS, help="Then it expires; default never."),
    ] = None,
    requests_per_minute: Annotated[
        int | None,
        typer.Option(
            "--requests-per-minute",
            min=1,
            help="How often it may ask; default TENSTEP_MAX_REQUESTS_PER_MINUTE.",
        ),
    ] = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Make a key and show it, this once: what is kept cannot be turned back into it."""
    from producer.cli.database import opened
    from producer.keys import create_key
    from shared.settings import load_settings

    with opened(load_settings(), may_create=True) as database, database.write() as session:
        now = database.now(session)
        key, secret = create_key(
            session,
            tenant_name(tenant),
            label("--name", name),
            scope or OF_A_TENANT,
            now,
            expires_at=None if days is None else now + timedelta(days=days),
            requests_per_minute=requests_per_minute,
        )
    if as_json:
        print_json({**key.to_json(), "secret": secret})
        return
    say(secret)
    allowed = ", ".join(one.value for one in key.scopes)
    complain(f"key {key.id} of {key.tenant}: {allowed}; it is not shown again")


@app.command("list", epilog=LIST_EPILOG)
def list_all(*, as_json: options.Json = False) -> None:
    """List all keys, the revoked ones too; never their secrets."""
    from producer.cli.database import opened
    from producer.keys import list_keys
    from shared.settings import load_settings

    with opened(load_settings()) as database, database.read() as session:
        keys = list_keys(session)
        now = database.now(session)
    if as_json:
        print_json({"keys": [key.to_json() for key in keys]})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("key", "tenant", "ending", "scopes", "state"):
        table.add_column(heading, no_wrap=heading != "scopes")
    for key in keys:
        scopes = " ".join(scope.value for scope in key.scopes)
        table.add_row(str(key.id), key.tenant, key.ending, scopes, key.state(now))
    print_rich(table)


@app.command("revoke", epilog=REVOKE_EPILOG)
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Id of a key.")],
    *,
    as_json: options.Json = False,
) -> None:
    """Make a key worthless, for good; servers know within a second."""
    from producer.cli.database import opened
    from producer.keys import revoke_key
    from shared.settings import load_settings

    with opened(load_settings()) as database, database.write() as session:
        revoked = revoke_key(session, _id(key), database.now(session))
    if as_json:
        print_json(revoked.to_json())
    else:
        say(f"key {revoked.id} of {revoked.tenant}: revoked")


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InputError(f"{text}: no id of a key", hint="tenstep keys list shows them.") from None
