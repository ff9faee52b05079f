"""``tenstep keys``, and what becomes of the secrets."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from producer.keys import create_key, recognise
from shared.db.engine import Database
from shared.domain.access import Scope
from shared.errors import InputError
from support.factories import START
from support.shell import Shell

EVERYTHING = frozenset(Scope)


def test_a_key_is_shown_once_and_never_again(shell: Shell) -> None:
    made = shell.json("keys", "create", "--tenant", "studio", "--name", "bot")

    assert made["secret"].startswith("tsk_")
    assert made["scopes"] == ["submit", "read", "operate"]
    [listed] = shell.json("keys", "list")["keys"]
    assert listed == {name: value for name, value in made.items() if name != "secret"}
    kept = b"".join(path.read_bytes() for path in Path("tenstep-data").glob("*sqlite3*"))
    assert made["secret"].encode() not in kept


def test_a_revoked_key_stays_in_the_list(shell: Shell) -> None:
    made = shell.json("keys", "create", "--tenant", "studio", "--scope", "read")

    first = shell.json("keys", "revoke", made["key_id"])
    again = shell.json("keys", "revoke", made["key_id"])

    assert first == again
    assert shell.json("keys", "list")["keys"][0]["revoked_at"] is not None
    assert shell("keys", "list") == 0
    assert "revoked" in shell.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "--tenant", ""), "--tenant: "),
        (("create", "--tenant", "a", "--name", "\x07"), "--name: control character"),
        (("create", "--tenant", "a", "--scope", "all"), "all"),
        (("create",), "--tenant"),
        (("revoke", "none"), "no id of a key"),
        (("revoke", "0197f3a2-5c1e-7bb0-9f6e-1f2d3c4b5a69"), "no key"),
    ],
)
def test_what_is_no_key_is_said(shell: Shell, arguments: tuple[str, ...], said: str) -> None:
    shell.json("keys", "create", "--tenant", "studio")

    assert shell("keys", *arguments) == 2
    assert said in shell.err


def test_a_key_is_good_until_it_expires_or_is_altered(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        end = START + timedelta(days=1)
        _, secret = create_key(session, "studio", "key", {Scope.READ}, START, expires_at=end)
    with sqlite_database.read() as session:
        known = recognise(session, secret, end - timedelta(seconds=1))
        assert known is not None
        assert (known.tenant, known.scopes) == ("studio", {Scope.READ})
        assert recognise(session, secret, end) is None
        assert recognise(session, secret[:-1], START) is None
        assert recognise(session, secret.swapcase(), START) is None
        assert recognise(session, "\udcff", START) is None


def test_a_key_that_could_never_be_used_is_not_made(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        with pytest.raises(InputError, match="at least one scope"):
            create_key(session, "studio", "key", frozenset(), START)
        with pytest.raises(InputError, match="has expired already"):
            create_key(session, "studio", "key", EVERYTHING, START, expires_at=START)
