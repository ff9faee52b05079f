"""A tenstep server, as Python sees it.

Blocking::

    from producer.client import Client

    with Client("https://tenstep.example", api_key) as server:
        batch = server.submit(["a red apple", "a green pear"], steps=16)
        server.wait(batch.batch_id, on_progress=lambda status: print(status.counts))
        for job, png in server.images(batch.batch_id):
            Path(f"{job.position}.png").write_bytes(png)

With asyncio, `AsyncClient` has the same methods to be awaited, or iterated over.
"""

from producer.client.answers import ConflictError, NotFoundError, RefusedLinesError
from producer.client.client import AsyncClient, Client
from producer.client.retries import Patience

__all__ = [
    "AsyncClient",
    "Client",
    "ConflictError",
    "NotFoundError",
    "Patience",
    "RefusedLinesError",
]
