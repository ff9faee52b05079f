"""A worker's connection to Redis, when Redis goes away."""

from __future__ import annotations

import pytest
from kombu import Connection, Queue
from redis.exceptions import RedisError

from support.valkey import run_valkey
from worker.transport import WatchedTransport


def test_a_worker_that_could_not_acknowledge_takes_the_next_message_all_the_same() -> None:
    with run_valkey() as redis, Connection(redis.url, transport=WatchedTransport) as connection:
        channel = connection.channel()
        channel.basic_qos(0, 1, False)
        queue = Queue("chunks", channel=channel)
        queue.declare()
        connection.Producer(channel).publish({"number": 1}, routing_key="chunks")
        message = queue.get()
        assert message is not None
        assert not channel.qos.can_consume()

        redis.server.kill()
        with pytest.raises((RedisError, OSError)):
            message.ack()

        assert channel.qos.can_consume()
        redis.server.start()
        redis.server.wait_until(redis.answers)
