"""A report as a page in Markdown."""

from __future__ import annotations

from training.quality.features import SIDE
from training.quality.intervals import RESAMPLES, Interval
from training.quality.likeness import OFF_BY
from training.quality.report import RECALLS, Measures, Report
from training.quality.variants import EXACT

_HEADINGS = (
    *("Way", "Speed", "PSNR, dB", "SSIM", "Pixels off", "Concept", "Among five", "Style"),
    *("Kernel distance", "Loss"),
)


def as_page(report: Report) -> str:
    """Return the page: what was measured, and a row for each way of drawing."""
    levels = ", ".join(f"{level:.3g}" for level in report.noise_levels)
    return f"""# What shortcuts cost in quality

Written by `python -m training.quality`. Model {report.model}, {report.drawings} drawings of each
way, the same prompts and seeds for all of them: core concepts of the data in each style.
{len(report.noise_levels)} steps at the noise levels {levels}.

- Speed: how many times as fast as the exact way, noise to pixels, batches of {report.batch} drawn
  in turn; the median, with quartiles.
- PSNR, SSIM, pixels off (by more than {OFF_BY} of 255 shades): against the exact drawing.
- Concept, among five, style: share of drawings whose nearest picture of the data shows what was
  asked for, is among the five nearest, has the style too.
- Kernel distance of the drawings from the data's pictures (KID, times 1000), on features of
  {report.feature_network} (SHA-256 {report.feature_weights_sha256[:12]}…) at {SIDE} pixels. It
  can be compared within this table only.
- In parentheses 95 % intervals, by {RESAMPLES} bootstrap samples of the drawings. Below the exact
  way's own figures stand changes from them, question by question.
- Loss: whether a recall is lower or the distance greater for certain, at 95 %.

{as_table(report)}"""


def as_table(report: Report) -> str:
    """Return a table: the exact way's own figures, and the others' changes."""
    rules = ["---", *["---:"] * (len(_HEADINGS) - 2), "---"]
    rows = [_HEADINGS, rules, *(_cells(measures) for measures in report.variants)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cells(measures: Measures) -> list[str]:
    low, high = measures.speed_quartiles
    speed = f"{measures.speed:.2f} ({low:.2f} to {high:.2f})"
    if measures.name == EXACT:
        recalls = [f"{measures.recall[name].mean:.3f}" for name in RECALLS]
        return [EXACT, "1", "", "", "", *recalls, f"{1000 * measures.distance.mean:.0f}", ""]
    return [
        measures.name,
        speed,
        f"{measures.psnr.mean:.1f}",
        f"{measures.ssim.mean:.3f}",
        f"{measures.off.mean:.1%}",
        *(_span(measures.recall_change[name], 1, "+.3f") for name in RECALLS),
        _span(measures.distance_change, 1000, "+.0f"),
        "none seen" if measures.is_free else "yes",
    ]


def _span(interval: Interval, times: float, form: str) -> str:
    low, high = times * interval.low, times * interval.high
    return f"{times * interval.mean:{form}} ({low:{form}} to {high:{form}})"
