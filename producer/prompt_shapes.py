"""How many images of which shape a source of prompts asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from producer.new_jobs import MAX_JOBS_A_BATCH, by_shape
from producer.prompt_files import PromptSource
from producer.rejects import MAX_SHOWN, MAX_SHOWN_CHARACTERS, RejectedLine, Rejects, rejected_by
from producer.settle import Settled, Settler
from shared.domain.rates import Shape
from shared.errors import InputError


@dataclass(frozen=True, slots=True)
class CountedPrompts:
    """The images of all good lines, and the lines that are bad."""

    images: Mapping[Shape, int]
    rejects: Rejects
    """Listed in no file: nothing is written."""

    @property
    def total(self) -> int:
        """Images of all shapes."""
        return sum(self.images.values())


def count_prompts(source: PromptSource, settler: Settler) -> CountedPrompts:
    """Read all lines as a submission would, and count what they ask for.

    Raises:
        InputError: there are more than 10 million images, or the source cannot be read.
    """
    found: Counter[Settled] = Counter()
    first: list[RejectedLine] = []
    bad = total = 0
    for line in source.lines:
        if not isinstance(line, RejectedLine):
            try:
                settled = settler.settle(line.request)
            except ValueError as error:
                line = rejected_by(error, line.line_number, line.raw_text())  # noqa: PLW2901 - the same line, now known to be bad
            else:
                images = len(settler.seeds(line.request, 0))
                found[settled] += images
                total += images
                if total > MAX_JOBS_A_BATCH:
                    raise _too_many(source, line.line_number)
                continue
        bad += 1
        if len(first) < MAX_SHOWN:
            first.append(replace(line, raw=line.raw[:MAX_SHOWN_CHARACTERS]))
    images_by_shape = dict(sorted(by_shape(found).items()))
    return CountedPrompts(images_by_shape, Rejects(source.name, bad, first, None))


def _too_many(source: PromptSource, line_number: int) -> InputError:
    return InputError(
        f"{source.name}:{line_number}: a batch holds at most {MAX_JOBS_A_BATCH:,} images",
        hint="Do it in parts.",
    )
