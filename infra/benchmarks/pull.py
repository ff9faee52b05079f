"""Times ``tenstep pull`` from a folder and from S3, beside plain copies of the same files.

The peers are ``cp -r`` for a folder, and for S3 the AWS SDK's own transfer manager with as
many threads. Each figure is the median of some runs. Needs ``PYTHONPATH=tests`` for its S3
server, which shares this machine with the pull.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

from drawn_batch import fill
from rich.console import Console
from rich.table import Table

from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.outcomes import StoredImage
from shared.domain.identifiers import new_id
from shared.settings import Settings
from shared.storage.base import ObjectStore, image_key, sha256_of
from shared.storage.folder import FolderStore
from shared.storage.s3 import open_bucket, s3_client
from support.seaweedfs import S3Bucket, S3Server, run_seaweedfs

TENSTEP = Path(sys.executable).with_name("tenstep")
THREADS = 8
RUNS = 3
BUCKET = "pictures"


def fill_stores(stores: list[ObjectStore], images: int, size: int) -> list[StoredImage]:
    """Put the same images, which do not compress, into each store."""
    noise = random.Random(0)  # noqa: S311 - pixels, no secrets

    def put(_: int) -> StoredImage:
        data = noise.randbytes(size)
        image = StoredImage(image_key(sha256_of(data)), sha256_of(data), size)
        for store in stores:
            store.put(image.key, data, "image/png")
        return image

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(put, range(images)))


def pull(environment: dict[str, str], batch_id: UUID, *arguments: str) -> Callable[[Path], None]:
    """Make a run of the command."""

    def run(folder: Path) -> None:
        subprocess.run(
            [TENSTEP, "pull", str(batch_id), "--manifest", "none", "--to", folder, *arguments],
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )

    return run


def transfer(settings: Settings, images: list[StoredImage]) -> Callable[[Path], None]:
    """Make a run of the AWS SDK's transfer manager, a file an image."""

    def run(folder: Path) -> None:
        client = s3_client(settings)
        folder.mkdir()

        def fetch(image: StoredImage) -> None:
            client.download_file(BUCKET, image.key, str(folder / f"{image.sha256}.png"))

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(fetch, images))

    return run


def copy(source: Path) -> Callable[[Path], None]:
    """Make a run of cp."""
    return lambda folder: subprocess.run(["/bin/cp", "-r", source, folder], check=True) and None


def seconds_of(run: Callable[[Path], None], folder: Path) -> float:
    """Run some times, each into a folder that is not there yet; returns the median.

    The folders stay: ext4 takes long to make files for seconds after others were removed.
    """
    taken = []
    for _ in range(RUNS):
        os.sync()
        begin = time.perf_counter()
        run(folder / f"out-{new_id()}")
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def measure(images: int, size: int, folder: Path, server: S3Server) -> dict[str, float]:
    """Return the seconds of each way."""
    bucket = S3Bucket(server, BUCKET)
    on_s3 = {**bucket.settings, "TENSTEP_STORAGE_URL": f"s3://{BUCKET}"}
    settings = Settings(
        **{name.removeprefix("TENSTEP_").lower(): value for name, value in on_s3.items()}  # type: ignore[arg-type]
    )
    client = server.client()
    client.create_bucket(Bucket=BUCKET)
    local = FolderStore(folder / "data" / "objects", durable=False)
    stored = fill_stores([local, open_bucket(BUCKET, "", settings)], images, size)
    database = Database(f"sqlite:///{folder}/data/tenstep.sqlite3")
    migrate(database)
    batch_id = fill(database, images, stored.__getitem__)
    database.close()
    data = {"TENSTEP_DATA_DIR": str(folder / "data")}
    shards = ("--format", "webdataset")
    runs = {
        "folder: cp -r": copy(local.folder),
        "folder: tenstep pull": pull(data, batch_id),
        "folder: tenstep pull, shards": pull(data, batch_id, *shards),
        "S3: transfer manager": transfer(settings, stored),
        "S3: tenstep pull": pull(data | on_s3, batch_id),
        "S3: tenstep pull, shards": pull(data | on_s3, batch_id, *shards),
    }
    return {name: seconds_of(run, folder) for name, run in runs.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--bytes", type=int, default=20_000, help="of an image")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, run_seaweedfs() as server:
        taken = measure(arguments.images, arguments.bytes, Path(folder), server)
    table = Table(
        *("way", "seconds", "images/s", "MB/s"),
        title=f"{arguments.images:,} images of {arguments.bytes / 1e3:,.0f} kB",
    )
    for name, seconds in taken.items():
        rate = arguments.images / seconds
        table.add_row(
            name, f"{seconds:.1f}", f"{rate:,.0f}", f"{rate * arguments.bytes / 1e6:,.1f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
