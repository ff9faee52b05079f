"""What training leaves to read."""

from __future__ import annotations

import socket
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.journal import Journal


def board(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard" / "stage"))
    events.Reload()
    return events


def test_tensorboard_goes_on_after_a_break(tmp_path: Path) -> None:
    before = Journal(tmp_path, "stage", batch=8, step=0, seconds=0.0)
    for step in (10, 20, 30):
        before.write(step, seconds=float(step), rate=0.5, losses={"loss": 1.0})
    before.close()
    (events,) = (tmp_path / "tensorboard" / "stage").iterdir()
    start, _, end = events.name.partition(socket.gethostname())
    events.rename(events.with_name(f"{start}zz-the-last-of-all-hosts{end}"))

    after = Journal(tmp_path, "stage", batch=8, step=20, seconds=20.0)
    for step in (30, 40):
        after.write(step, seconds=2.0 * step, rate=0.5, losses={"loss": 2.0})
    after.close()

    losses = [(event.step, event.value) for event in board(tmp_path).Scalars("loss")]
    assert losses == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0)]
    speeds = [round(event.value, 2) for event in board(tmp_path).Scalars("pictures a second")]
    assert speeds == [8.0, 8.0, 2.0, 4.0]


def test_drawings_are_kept_as_files_and_on_the_board(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "stage", batch=8, step=0, seconds=0.0)
    journal.draw(10, Image.new("RGB", (6, 4), "red"))
    journal.close()

    with Image.open(tmp_path / "samples" / "stage-10.png") as sheet:
        assert sheet.size == (6, 4)
    (drawn,) = board(tmp_path).Images("samples")
    assert (drawn.step, drawn.width, drawn.height) == (10, 6, 4)
