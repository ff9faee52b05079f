"""``tenstep bench busy`` with a handful of images, as somebody types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.commands import processes_of, tenstep_json

OPTIONS = ("--images", "6", "--devices", "2", "--image-seconds", "0.01", "--store-seconds", "0.01")
NOWHERE = {
    "TENSTEP_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none",
    "TENSTEP_REDIS_URL": "redis://127.0.0.1:1/0",
    "TENSTEP_STORAGE_URL": "s3://nowhere",
}
pytestmark = pytest.mark.parametrize("stack_env", ["local"], indirect=True)


def test_both_draw_all_images_and_nothing_of_the_users_is_touched(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    report = tenstep_json(stack_env | NOWHERE, "bench", "busy", *OPTIONS, cwd=tmp_path)

    for share, run in (("busy_share", "tenstep"), ("peer_busy_share", "plain_celery")):
        assert 0 < report[share] <= 1
        assert report[share] == report[run]["busy_share"]
        assert report[run]["images"] == 6
        assert sum(device["images"] for device in report[run]["devices"]) == 6
    assert (report["images"], report["devices"], report["image_seconds"]) == (6, 2, 0.01)
    assert {"tenstep", "celery", "redis_server", "python"} <= set(report["versions"])
    data_dir = Path(stack_env["TENSTEP_DATA_DIR"])
    assert not data_dir.exists()
    assert not processes_of(data_dir)


def test_without_the_peer_there_is_no_share_of_it(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    report = tenstep_json(stack_env, "bench", "busy", *OPTIONS, "--no-peer", cwd=tmp_path)

    assert report["peer_busy_share"] is None
    assert report["busy_share"] > 0
