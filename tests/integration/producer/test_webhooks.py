"""Webhooks as tenants make them, and what their servers get."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select, update
from standardwebhooks import WebhookVerificationError

from producer.webhooks import deliver
from producer.webhooks.deliver import Courier
from producer.webhooks.messenger import MessengerThread
from producer.webhooks.outbox import (
    JITTER,
    LEASE,
    RETRIED_AFTER,
    Answer,
    Parcel,
    forget_old,
    record,
    take_one,
)
from producer.webhooks.registry import MAX_WEBHOOKS, recent_deliveries, register, send_test
from shared.clock import utc_now
from shared.db.api_tables import Webhook, WebhookDelivery
from shared.db.batches import cancel_batch
from shared.db.engine import Database
from shared.domain.access import Scope
from shared.domain.identifiers import first_id_of, new_id
from shared.settings import Settings
from support.api import ApiServer
from support.commands import running, wait_until
from support.factories import add_batch
from support.receiver import LOOPBACK, Receiver, receiving
from support.servers import free_port

OPEN = Settings(webhooks_to_private_addresses=True)
CLOSED = Settings()
SECOND = timedelta(seconds=1)
WAIT = 20


@dataclass
class Sender:
    """A tenant's webhook, and what becomes of its deliveries."""

    database: Database
    webhook_id: UUID
    secret: str

    @classmethod
    def to(cls, database: Database, url: str) -> Sender:
        webhook, secret = register(database, OPEN, "anna", url, [])
        return cls(database, UUID(webhook["webhook_id"]), secret)

    def send_test(self) -> str:
        with self.database.write() as session:
            webhook = session.get_one(Webhook, self.webhook_id)
            event_id: str = send_test(session, webhook, self.database.now(session))["event_id"]
        return event_id

    def deliveries(self) -> Sequence[dict[str, Any]]:
        with self.database.read() as session:
            webhook = session.get_one(Webhook, self.webhook_id)
            return recent_deliveries(session, webhook, 100)

    def state(self) -> tuple[str, int]:
        """Return how it is about the newest delivery, and how often it was tried."""
        newest = self.deliveries()[0]
        return newest["state"], newest["attempts"]

    def hurry(self) -> None:
        """Let all that is put off be due now."""
        with self.database.write() as session:
            session.execute(
                update(WebhookDelivery)
                .where(WebhookDelivery.next_at.is_not(None))
                .values(next_at=self.database.now(session) - SECOND)
            )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def sender(database: Database, receiver: Receiver) -> Sender:
    return Sender.to(database, receiver.url)


@contextmanager
def messenger(database: Database, settings: Settings = OPEN) -> Iterator[None]:
    thread = MessengerThread(database, settings)
    thread.start()
    try:
        yield
    finally:
        thread.stop()


def soon(condition: Callable[[], bool]) -> None:
    wait_until(condition, seconds=WAIT)


def test_the_end_of_a_batch_reaches_the_server_of_its_owner(
    sender: Sender, receiver: Receiver
) -> None:
    with sender.database.write() as session:
        batch = add_batch(session)
        batch.tenant, batch_id = "anna", batch.id
        session.flush()
        cancel_batch(session, batch, sender.database.now(session))

    with messenger(sender.database), messenger(sender.database):
        soon(lambda: [one["state"] for one in sender.deliveries()] == ["delivered"])

    (call,) = receiver.calls
    event = call.event(sender.secret)
    assert event["type"] == "batch.cancelled"
    assert event["data"]["batch_id"] == str(batch_id)
    assert call.path == "/hook"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["host"] == f"{LOOPBACK}:{receiver.port}"
    assert sender.deliveries()[0]["status"] == 204
    with pytest.raises(WebhookVerificationError):
        call.event("whsec_" + "A" * 44)


def test_what_fails_is_sent_again_with_the_same_id(sender: Sender, receiver: Receiver) -> None:
    receiver.answers = [500]
    event_id = sender.send_test()
    with messenger(sender.database):
        soon(lambda: len(receiver.calls) == 1 and sender.deliveries()[0]["error"] is not None)
        failed = sender.deliveries()[0]
        sender.hurry()
        soon(lambda: sender.state() == ("delivered", 2))

    assert (failed["state"], failed["status"], failed["error"]) == ("pending", 500, "answered 500")
    assert [call.id for call in receiver.calls] == [event_id] * 2
    assert all(call.event(sender.secret)["type"] == "webhook.test" for call in receiver.calls)


def test_pauses_grow_until_it_is_given_up(sender: Sender) -> None:
    sender.send_test()
    pauses = []
    while (parcel := take_one(sender.database, [])) is not None:
        with sender.database.read() as session:
            before = sender.database.now(session)
        record(sender.database, parcel, Answer(503, "answered 503"))
        with sender.database.read() as session:
            next_at = session.get_one(WebhookDelivery, parcel.delivery_id).next_at
        pauses += [] if next_at is None else [next_at - before]
        sender.hurry()

    assert len(pauses) == len(RETRIED_AFTER)
    for pause, least in zip(pauses, RETRIED_AFTER, strict=True):
        assert least <= pause <= least * (1 + JITTER) + 5 * SECOND
    assert sender.state() == ("given_up", len(RETRIED_AFTER) + 1)


def test_a_receiver_that_is_gone_for_good_is_told_nothing_more(
    sender: Sender, receiver: Receiver
) -> None:
    receiver.answers = [410]
    for _ in range(3):
        sender.send_test()
    with messenger(sender.database):
        soon(lambda: {one["state"] for one in sender.deliveries()} == {"given_up"})

    assert len(receiver.calls) == 1
    with sender.database.read() as session:
        assert session.get_one(Webhook, sender.webhook_id).disabled_at is not None


def test_a_redirect_is_not_followed(sender: Sender, receiver: Receiver) -> None:
    with receiving() as elsewhere:
        receiver.answers, receiver.location = [302], elsewhere.url
        answer = sent(sender, Courier(allow_private=True))

        assert answer == Answer(302, "answered 302; redirects are not followed")
        assert elsewhere.calls == []


def test_an_answer_without_end_is_not_read(sender: Sender, receiver: Receiver) -> None:
    receiver.never_ends = threading.Event()
    try:
        assert sent(sender, Courier(allow_private=True)) == Answer(204, None)
    finally:
        receiver.never_ends.set()


def test_a_receiver_that_says_nothing_is_not_waited_for_long(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "TOTAL_SECONDS", 0.2)
    receiver.is_silent = threading.Event()
    try:
        assert sent(sender, Courier(allow_private=True)) == Answer(None, "no answer within 0.2 s")
    finally:
        receiver.is_silent.set()


def test_a_slow_receiver_holds_up_no_other(sender: Sender, receiver: Receiver) -> None:
    receiver.is_silent = threading.Event()
    sender.send_test()
    with receiving() as other, messenger(sender.database):
        quick = Sender.to(sender.database, other.url)
        for _ in range(3):
            quick.send_test()
        soon(lambda: len(other.calls) == 3)
        receiver.is_silent.set()


def test_nobody_there_is_a_failure_that_is_told(sender: Sender, receiver: Receiver) -> None:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        nobody = Sender.to(sender.database, f"http://{LOOPBACK}:{probe.getsockname()[1]}/")

        answer = sent(nobody, Courier(allow_private=True))

    assert answer.status is None
    assert "ConnectError" in (answer.error or "")


# Addresses


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


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes the certificate")
def test_certificates_are_checked_for_the_name_and_not_for_the_address(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = certificate_for("hooks.example", tmp_path)
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


def sent(sender: Sender, courier: Courier) -> Answer:
    """Send an event right now."""
    sender.send_test()
    while (parcel := take_one(sender.database, [])) is not None:
        answer = asyncio.run(courier.send(parcel, utc_now()))
        record(sender.database, parcel, answer)
        if parcel.webhook_id == sender.webhook_id:
            return answer
    raise AssertionError("nothing was due")


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


def certificate_for(name: str, folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


# Messengers that die


def test_only_one_messenger_takes_a_delivery(sender: Sender) -> None:
    sender.send_test()

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: take_one(sender.database, []), range(8)))

    assert len([parcel for parcel in taken if parcel is not None]) == 1


def test_what_a_dead_messenger_had_taken_is_sent_by_another(sender: Sender) -> None:
    sender.send_test()
    dead = take_one(sender.database, [])
    assert dead is not None
    assert take_one(sender.database, []) is None, "it may still be at it"
    with sender.database.write() as session:
        session.execute(
            update(WebhookDelivery).values(next_at=sender.database.now(session) - LEASE)
        )

    other = take_one(sender.database, [])

    assert other is not None
    record(sender.database, dead, Answer(500, "answered 500"))
    assert sender.deliveries()[0]["error"] is None, "it is the other one's now"
    record(sender.database, other, Answer(200, None))
    assert sender.state() == ("delivered", 2)


def test_old_deliveries_are_forgotten_and_pending_ones_are_not(sender: Sender) -> None:
    for _ in range(3):
        sender.send_test()
    old = first_id_of(utc_now() - timedelta(days=31))
    with sender.database.write() as session:
        first, second, _ = session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id))
        first.next_at, first.id = None, old
        second.id = UUID(int=old.int + 1)

    forget_old(sender.database)

    assert len(sender.deliveries()) == 2


def test_secrets_and_urls_are_in_no_representation() -> None:
    parcel = Parcel(new_id(), new_id(), new_id(), 1, "https://secret.example", "whsec_secret", {})

    assert "secret" not in repr(parcel)


# Over HTTP

HOOK = {"url": "https://8.8.8.8:8443/hook?token=abc", "events": ["batch.finished"]}


def test_a_webhook_is_made_shown_tried_and_deleted(api: ApiServer) -> None:
    with api.client(api.new_key("anna", Scope.OPERATE)) as anna:
        made = anna.post("/api/webhooks", json=HOOK)
        assert made.status_code == 201
        webhook = made.json()
        secret = webhook.pop("secret")
        assert secret.startswith("whsec_")
        path = f"/api/webhooks/{webhook['webhook_id']}"
        tried = anna.post(f"{path}/test")
        assert tried.status_code == 202
        assert anna.get("/api/webhooks").json() == {"webhooks": [webhook]}
        assert secret not in anna.get("/api/webhooks").text
        assert anna.get(f"{path}/deliveries").json() == {"deliveries": [tried.json()]}
        assert tried.json()["type"] == "webhook.test"
        assert tried.json()["state"] == "pending"

        with api.client(api.new_key("bob")) as bob:
            assert bob.get("/api/webhooks").json() == {"webhooks": []}
            assert bob.delete(path).status_code == 404
            assert bob.get(f"{path}/deliveries").status_code == 404
            assert bob.post(f"{path}/test").status_code == 404
        with api.client(api.new_key("anna", Scope.READ, Scope.SUBMIT)) as reader:
            assert reader.get("/api/webhooks").status_code == 403
            assert reader.post("/api/webhooks", json=HOOK).status_code == 403

        assert anna.delete(path).status_code == 204
        assert anna.delete(path).status_code == 404
        assert anna.get("/api/webhooks").json() == {"webhooks": []}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "https://127.0.0.1/hook"},
        {"url": "http://8.8.8.8/hook"},
        {"url": "https://localhost./hook"},
        {"url": "https://anna:secret@8.8.8.8/"},
        {"url": "https://8.8.8.8/", "events": ["batch.made"]},
        {"url": "https://8.8.8.8/", "secret": "whsec_mine"},
        {"url": "https://8.8.8.8/" + "a" * 2_048},
    ],
)
def test_a_webhook_that_may_not_be_is_refused(api: ApiServer, body: Any) -> None:
    with api.client(api.new_key("carol", Scope.OPERATE)) as carol:
        answer = carol.post("/api/webhooks", json=body)

        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert carol.get("/api/webhooks").json() == {"webhooks": []}


def test_a_tenant_has_a_limited_number_of_them(api: ApiServer) -> None:
    with api.client(api.new_key("dora", Scope.OPERATE)) as dora:
        statuses = [
            dora.post("/api/webhooks", json=HOOK).status_code for _ in range(MAX_WEBHOOKS + 1)
        ]

    assert statuses == [201] * MAX_WEBHOOKS + [422]


def test_a_disabled_webhook_is_not_tried(api: ApiServer) -> None:
    with api.client(api.new_key("emil", Scope.OPERATE)) as emil:
        webhook_id = emil.post("/api/webhooks", json=HOOK).json()["webhook_id"]
        with api.database.write() as session:
            webhook = session.get_one(Webhook, UUID(webhook_id))
            webhook.disabled_at = api.database.now(session)

        assert emil.post(f"/api/webhooks/{webhook_id}/test").status_code == 409
        assert emil.get("/api/webhooks").json()["webhooks"][0]["disabled_at"] is not None


def test_a_server_that_is_started_calls_webhooks(tmp_path: Path, receiver: Receiver) -> None:
    environment = {
        **os.environ,
        "TENSTEP_DATA_DIR": str(tmp_path / "data"),
        "TENSTEP_WEBHOOKS_TO_PRIVATE_ADDRESSES": "true",
    }
    port = free_port()
    with (
        running(environment, "serve", "--port", str(port), cwd=tmp_path),
        httpx.Client(base_url=f"http://{LOOPBACK}:{port}") as client,
    ):
        soon(lambda: answers(client))
        made = client.post("/api/webhooks", json={"url": receiver.url}).raise_for_status()
        webhook = made.json()
        client.post(f"/api/webhooks/{webhook['webhook_id']}/test").raise_for_status()
        soon(lambda: len(receiver.calls) == 1)

    assert receiver.calls[0].event(webhook["secret"])["type"] == "webhook.test"


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False
