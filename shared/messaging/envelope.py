"""A queue message as Celery would send it: its protocol 2, in kombu's envelope for Redis.

Celery takes half a millisecond a message, with a connection for each; a dispatcher of ten thousand
devices has as much for all of a chunk. A test holds these next to Celery's own.
"""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import uuid4

from shared.messaging.contracts import RenderChunk, TaskName
from shared.telemetry.traces import TRACEPARENT

EMBEDDED: dict[str, None] = dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))
"""What is to be done after the task: nothing."""
ORIGIN = "tenstep"
HEADERS: dict[str, Any] = {
    "lang": "py",
    "task": TaskName.RENDER_CHUNK.value,
    **dict.fromkeys(("shadow", "eta", "expires", "group", "group_index", "parent_id")),
    "retries": 0,
    "timelimit": [None, None],
    "argsrepr": "()",
    "origin": ORIGIN,
    "ignore_result": None,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
}
PERSISTENT = 2


def envelope(queue: str, message: RenderChunk, traceparent: str | None = None) -> str:
    """Return what is pushed to the queue's list in Redis.

    Args:
        queue: its name, without the prefix of keys.
        message: the pointer.
        traceparent: of the span that it is sent in. It travels beside the pointer, so that
            workers that do not know of it take the message all the same.
    """
    traced = {} if traceparent is None else {TRACEPARENT: traceparent}
    chunk_id = str(message.chunk_id)
    keywords = {"message": message.model_dump(mode="json")}
    body = json.dumps([[], keywords, EMBEDDED]).encode()
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                **HEADERS,
                **traced,
                "id": chunk_id,
                "root_id": chunk_id,
                "kwargsrepr": repr(keywords),
            },
            "properties": {
                "correlation_id": chunk_id,
                "reply_to": "",
                "delivery_mode": PERSISTENT,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid4()),
            },
        }
    )
