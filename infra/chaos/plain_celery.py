"""What one would write first: Celery with ``acks_late``, one message an image.

The image takes 20 ms, and is drawn when its number is in the file.
"""

from __future__ import annotations

import os
import time

from celery import Celery

IMAGE_SECONDS = 0.02
REDELIVERS = "CHAOS_REDELIVERS"
"""Also ask for what the documentation advises against lost workers."""
VISIBILITY_SECONDS = 5

app = Celery("plain", broker=os.environ.get("CHAOS_BROKER"))
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
if os.environ.get(REDELIVERS):
    app.conf.update(
        task_reject_on_worker_lost=True,
        broker_transport_options={"visibility_timeout": VISIBILITY_SECONDS},
    )


@app.task(name="draw")
def draw(number: int) -> None:
    """Take as long as an image, then write its number down."""
    time.sleep(IMAGE_SECONDS)
    file = os.open(os.environ["CHAOS_DRAWN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{number}\n".encode())
    finally:
        os.close(file)
