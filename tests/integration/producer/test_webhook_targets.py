"""Addresses that webhooks call: looked up and checked each time, and no other is called."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from producer.webhooks.deliver import Courier
from producer.webhooks.outbox import Answer
from producer.webhooks.registry import register
from shared.db.api_tables import Webhook
from shared.db.engine import Database
from shared.settings import Settings
from support.certificates import HAS_OPENSSL, certificate_for
from support.receiver import LOOPBACK, Receiver, receiving
from support.webhooks import Sender, sent

CLOSED = Settings()


def test_a_private_address_is_not_called_even_if_it_was_registered(
    sender: Sender, receiver: Receiver
) -> None:
    with sender.database.write() as session:
        url = receiver.url.replace("http:", "https:")
        session.get_one(Webhook, sender.webhook_id).url = url

    answer = sent(sender, Courier(allow_private=False))

    assert "not on the public Internet" in (answer.error or "")
    assert receiver.calls == []


def test_a_name_that_turns_private_is_not_called(
    sqlite_database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = answering(monkeypatch, [["8.8.8.8"], ["8.8.8.8", LOOPBACK], [LOOPBACK]])
    url = f"https://hooks.example:{receiver.port}/hook"
    webhook, secret = register(sqlite_database, CLOSED, "anna", url, [])
    sender = Sender(sqlite_database, UUID(webhook["webhook_id"]), secret)
    courier = Courier(allow_private=False)

    for _ in range(2):
        assert "not on the public Internet" in (sent(sender, courier).error or "")

    assert looked_up == ["hooks.example"] * 3
    assert receiver.calls == []


def test_what_is_called_is_the_address_that_was_checked(
    sqlite_database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = answering(monkeypatch, [[LOOPBACK], [LOOPBACK], ["192.0.2.1"]])
    sender = Sender.to(sqlite_database, f"http://hooks.example:{receiver.port}/hook")

    assert sent(sender, Courier(allow_private=True)) == Answer(204, None)

    assert looked_up == ["hooks.example"] * 2, "once when it is made, once when it is called"
    assert receiver.calls[0].headers["host"] == f"hooks.example:{receiver.port}"


def test_the_second_address_is_tried_if_nobody_answers_at_the_first(
    sqlite_database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ["127.0.0.2", LOOPBACK]
    answering(monkeypatch, [both, both])
    sender = Sender.to(sqlite_database, f"http://hooks.example:{receiver.port}/hook")

    assert sent(sender, Courier(allow_private=True)) == Answer(204, None)


@pytest.mark.skipif(not HAS_OPENSSL, reason="makes the certificate")
def test_certificates_are_checked_for_the_name_and_not_for_the_address(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = certificate_for("DNS:hooks.example", tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    answering(monkeypatch, [[LOOPBACK]] * 5)
    with receiving(tls) as receiver:
        good, bad = (
            Sender.to(sqlite_database, f"https://{host}:{receiver.port}/")
            for host in ("hooks.example", "other.example")
        )
        courier = Courier(allow_private=True)

        assert "CERTIFICATE_VERIFY_FAILED" in (sent(good, courier).error or "")
        courier._tls.load_verify_locations(certificate)
        assert sent(good, courier) == Answer(204, None)
        assert "CERTIFICATE_VERIFY_FAILED" in (sent(bad, courier).error or "")


def answering(monkeypatch: pytest.MonkeyPatch, answers: list[list[str]]) -> list[str]:
    """Be the name server of ``*.example``; returns what it was asked, as it is asked."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        if not str(host).endswith(".example"):
            return real(host, port, *more, **options)
        asked.append(str(host))
        found = answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked
