"""What a stage's training leaves to read: a log of losses, TensorBoard's files, drawings."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard.writer import SummaryWriter

from shared.clock import utc_now

logger = logging.getLogger(__name__)

#: Folders below a run's.
TENSORBOARD, SAMPLES = "tensorboard", "samples"


class Journal:
    """The records of one stage.

    They are `NAME.jsonl` with a line a stretch of steps, `tensorboard/NAME/` with the same numbers
    and all drawings, and `samples/NAME-STEP.png`.
    """

    def __init__(self, folder: Path, name: str, batch: int, step: int, seconds: float) -> None:
        """Go on after a step; what an earlier run wrote of later ones is dropped.

        Args:
            folder: of the run.
            name: of the stage.
            batch: pictures that a step sees.
            step: the last one that is not lost.
            seconds: of training that it took.
        """
        self._name, self._batch = name, batch
        self._step, self._seconds = step, seconds
        self._samples = folder / SAMPLES
        self._log = folder / f"{name}.jsonl"
        _forget_after(self._log, step)
        board = folder / TENSORBOARD / name
        _outlive_the_second_of(board)
        self._board = SummaryWriter(board, purge_step=step + 1)

    def write(self, step: int, seconds: float, rate: float, losses: Mapping[str, float]) -> None:
        """Note the mean losses since the last line.

        Args:
            step: how many are done.
            seconds: of training that they took.
            rate: the learning rate.
            losses: by name.
        """
        document = {
            "step": step,
            "samples": step * self._batch,
            "seconds": round(seconds, 1),
            "rate": round(rate, 7),
            **{name: round(value, 5) for name, value in losses.items()},
        }
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(document) + "\n")
        logger.info("%s %s", self._name, document)
        pictures = (step - self._step) * self._batch
        speed = pictures / max(seconds - self._seconds, 1e-9)
        self._step, self._seconds = step, seconds
        for name, value in [*losses.items(), ("rate", rate), ("pictures a second", speed)]:
            self._board.add_scalar(name, value, step)

    def draw(self, step: int, sheet: Image.Image) -> None:
        """Keep what the networks draw after a step."""
        self._samples.mkdir(exist_ok=True)
        sheet.save(self._samples / f"{self._name}-{step}.png")
        pixels = np.asarray(sheet.convert("RGB"))
        self._board.add_image("samples", pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is still in memory."""
        self._board.close()


def _forget_after(path: Path, step: int) -> None:
    """Drop the lines of steps that were lost with a run that broke off."""
    if path.exists():
        lines = path.read_text("utf-8").splitlines(keepends=True)
        path.write_text(
            "".join(line for line in lines if json.loads(line)["step"] <= step), "utf-8"
        )


def _outlive_the_second_of(board: Path) -> None:
    """Wait until a new file of events is read after those that are there.

    TensorBoard reads them in the order of their names. A name begins with the second in which the
    file was opened; what follows (host, process, a count) says nothing of which is the later one.
    """
    seconds = [int(path.name.split(".")[3]) for path in board.glob("events.out.tfevents.*")]
    wait = max(seconds, default=0) + 1 - utc_now().timestamp()
    time.sleep(min(max(wait, 0.0), 1.0))
