"""What a file of prompts would become: its first rows, its bad lines, what it would cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice, pairwise

from producer.api.native.costs import MOST_QUOTED_BYTES
from producer.batch_options import BatchOptions
from producer.prompt_content import Content
from producer.prompt_files import PromptSource, prompts_in, sniffed_format
from producer.prompt_format import PromptFormat, format_of_name
from producer.prompt_lines import AcceptedLine, PromptLine
from producer.prompt_shapes import CountedPrompts, count_prompts
from producer.quote_grounds import NoRateError, read_grounds
from producer.quoting import QuotedPrompts, quote_prompts
from producer.services import Services
from producer.settle import Settled, Settler
from producer.uploaded_prompts import copied_content
from producer.uploads import FileView
from shared.db.drawable_sizes import live_sizes
from shared.db.prices import MissingPriceError
from shared.errors import InputError, TenstepError
from shared.models.card import ModelCard

ROWS_SHOWN = 10
HEAD_BYTES = 2 * 2**20
HEAD_LINES = 1_000


@dataclass(frozen=True, slots=True)
class Row:
    """A good line, and what its images are drawn with."""

    line: AcceptedLine
    settled: Settled
    negative_prompt: str
    seeds: Sequence[int]
    """One of each image."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What is known of a file before it is a batch."""

    file: FileView
    prompt_format: PromptFormat
    model: str
    is_whole: bool
    """Whether all of it was read, or only how it begins."""
    rows: Sequence[Row]
    """The first good lines."""
    prompts: CountedPrompts | None
    """Of what was read; None of a large Parquet file, whose begin tells nothing."""
    quoted: QuotedPrompts | None = None
    unquoted: TenstepError | None = None
    """Why there is no quote of a file that was read."""

    @property
    def is_empty(self) -> bool:
        """Whether no line can be drawn."""
        return self.is_whole and not self.rows

    def is_refused_by(self, options: BatchOptions) -> bool:
        """Tell if no batch can come of it, because of its lines."""
        bad = self.prompts.rejects.count if self.prompts else 0
        return self.is_empty or (bad > 0 and not options.takes_good_lines)


@dataclass(slots=True)
class _FirstRows:
    """Notes the first good lines of those that pass."""

    settler: Settler
    rows: list[Row] = field(default_factory=list)
    _images: int = 0

    def noting(self, lines: Iterator[PromptLine]) -> Iterator[PromptLine]:
        for line in lines:
            if isinstance(line, AcceptedLine) and len(self.rows) < ROWS_SHOWN:
                self._note(line)
            yield line

    def _note(self, line: AcceptedLine) -> None:
        try:
            settled = self.settler.settle(line.request)
        except ValueError:  # whoever counts the lines says so
            return
        seeds = self.settler.seeds(line.request, self._images)
        self._images += len(seeds)
        self.rows.append(Row(line, settled, self.settler.negative_prompt(line.request), seeds))


def preview_file(
    services: Services, options: BatchOptions, file: FileView, prompt_format: PromptFormat | None
) -> Preview:
    """Read a file as a submission would, or how it begins if it is large; write nothing.

    Args:
        services: database, store and settings.
        options: what the batch is to be; they were checked.
        file: the prompts.
        prompt_format: how it is written; None tells by its name, or by how it begins.

    Raises:
        InputError: it cannot be read.
        ServiceUnavailableError: the store does not answer.
    """
    card = options.card(services.settings)
    is_whole = file.bytes <= MOST_QUOTED_BYTES
    with copied_content(services.store, file, None if is_whole else HEAD_BYTES) as content:
        known = prompt_format or format_of_name(file.name) or sniffed_format(content)
        if known is PromptFormat.PARQUET and not is_whole:  # what it has is told at its end
            return Preview(file, known, card.name, is_whole, [], None)
        silence = timedelta(seconds=services.settings.lease_seconds)
        settler = Settler(options, card, live_sizes(services.database, card.name, silence))
        first = _FirstRows(settler)
        prompts = _counted(content, known, card, first, is_whole=is_whole)
    read = Preview(file, known, card.name, is_whole, first.rows, prompts)
    return _quoted(services, read, card, prompts) if is_whole and prompts.total else read


def _counted(
    content: Content,
    prompt_format: PromptFormat,
    card: ModelCard,
    first: _FirstRows,
    *,
    is_whole: bool,
) -> CountedPrompts:
    with prompts_in(content, prompt_format, model=card.name) as source:
        lines = source.lines if is_whole else _lines_of_head(source)
        return count_prompts(replace(source, lines=first.noting(lines)), first.settler)


def _lines_of_head(source: PromptSource) -> Iterator[PromptLine]:
    """Read lines of a file that is cut off: the last may be half a line, or half a block."""
    count = 0
    try:
        for line, _ in pairwise(islice(source.lines, HEAD_LINES)):
            count += 1
            yield line
    except InputError:
        if not count:
            raise


def _quoted(services: Services, read: Preview, card: ModelCard, prompts: CountedPrompts) -> Preview:
    settings, database = services.settings, services.database
    try:
        with database.read() as session:
            grounds = read_grounds(session, settings, card.name, database.now(session))
    except (NoRateError, MissingPriceError) as error:
        return replace(read, unquoted=error)
    quoted = quote_prompts(card.name, prompts, grounds, settings.chunk_size, None)
    return replace(read, quoted=quoted)
