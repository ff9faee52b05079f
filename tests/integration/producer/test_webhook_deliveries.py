"""What is sent to webhooks: once, again after a failure, and by another if a messenger dies."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update
from standardwebhooks import WebhookVerificationError

from producer.webhooks import deliver
from producer.webhooks.deliver import Courier
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
from shared.clock import utc_now
from shared.db.api_tables import Webhook, WebhookDelivery
from shared.db.batches import cancel_batch
from shared.domain.identifiers import first_id_of, new_id
from support.factories import add_batch
from support.receiver import LOOPBACK, Receiver, receiving
from support.webhooks import Sender, messenger, sent, soon

SECOND = timedelta(seconds=1)


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
