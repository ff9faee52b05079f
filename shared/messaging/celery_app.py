"""The Celery application, configured so that nothing is lost and nothing runs twice for long.

SQL holds the truth: leases, attempts and retries are rows there. Celery only has to carry
a pointer to a worker; what it loses the dispatcher sends again.
"""

from __future__ import annotations

from celery import Celery

from shared.settings import Settings

VISIBILITY_TIMEOUT_FACTOR = 2


def make_celery(settings: Settings, broker_url: str) -> Celery:
    """Build the application for a producer or a worker.

    Args:
        settings: time limits and the key prefix.
        broker_url: what ``shared.messaging.broker`` resolved, in clear.
    """
    visibility_seconds = VISIBILITY_TIMEOUT_FACTOR * (
        settings.chunk_time_limit_seconds + settings.stop_grace_seconds
    )
    app = Celery("tenstep", broker=broker_url, set_as_current=False)
    app.conf.update(
        # A message acknowledged on receipt dies with its worker.
        task_acks_late=True,
        # With True, a job that kills its process is redelivered without end (celery#9082):
        # SQL counts attempts and the dispatcher sends the chunk again, job by job.
        task_reject_on_worker_lost=False,
        task_retry_on_worker_lost=False,
        # Failures and timeouts are recorded in SQL; the broker must not run them again.
        task_acks_on_failure=True,
        task_acks_on_timeout=True,
        # Results belong in SQL: a result backend leaks keys.
        task_ignore_result=True,
        task_track_started=False,
        # More than one prefetched chunk waits behind a slow one while others idle.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # Leases are fenced, so a chunk may finish after its connection broke.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # A broker restart must not end the worker.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Celery's own events and gossip cost a message a state; status comes from SQL.
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        # The log belongs to structlog.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # All three must agree: the shortest of them wins, and a chunk that runs longer
        # than it is delivered twice.
        visibility_timeout=visibility_seconds,
        result_backend_transport_options={"visibility_timeout": visibility_seconds},
        broker_transport_options={
            "visibility_timeout": visibility_seconds,
            # The default sweep notices a dead worker's message only after 100 s.
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            # Without these a publish waits for ever on a dead peer.
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "retry_on_timeout": True,
            "health_check_interval": 25,
            "global_keyprefix": settings.redis_key_prefix,
        },
    )
    return app
