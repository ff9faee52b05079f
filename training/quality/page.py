"""A report as a page in Markdown."""

from __future__ import annotations

import statistics

from training.quality.features import SIDE
from training.quality.intervals import RESAMPLES, Interval
from training.quality.likeness import OFF_BY
from training.quality.report import RECALLS, Gain, Measures, Report
from training.quality.variants import EXACT

_HEADINGS = (
    *("Way", "Gain", "Gain on its backend", "PSNR, dB", "SSIM", "Pixels off"),
    *("Concept", "Among five", "Style", "Kernel distance", "Loss"),
)


def as_page(report: Report) -> str:
    """Return the page: what was measured, and a row for each way of drawing."""
    levels = ", ".join(f"{level:.3g}" for level in report.noise_levels)
    timed = next(way.batch_seconds for way in report.variants if way.name == EXACT)
    milliseconds = 1000 * statistics.median(timed) / report.batch
    return f"""# What shortcuts cost in quality, and what they gain

Written by `python -m training.quality`. Model {report.model}, {report.drawings} drawings of each
way, the same prompts and seeds for all of them: core concepts of the data in each style.
{len(report.noise_levels)} steps at the noise levels {levels}.

- Model's weights: SHA-256 {report.weights_sha256}.
- Data: SHA-256 {report.data_sha256}.
- Features: {report.feature_network} at {SIDE} pixels, weights' SHA-256
  {report.feature_weights_sha256}.
- Times: {report.processor}, threads: {report.threads}, timed batches of {report.batch} images:
  {len(timed)}, each drawn in all ways in turn. The exact way took {milliseconds:.0f} ms an image.

What the columns say:

- Gain: how many times as fast as the exact way, from noise to pixels: the median of the batches'
  ratios, with quartiles. Gain on its backend: the same of what was exported for ONNX Runtime,
  over its float32.
- PSNR, SSIM, pixels off (by more than {OFF_BY} of 255 shades): against the exact drawing of the
  same prompt and seed.
- Concept, among five, style: share of drawings whose nearest picture of the data shows what was
  asked for, is among the five nearest, has the style too.
- Kernel distance of the drawings from the data's pictures (KID, times 1000). It can be compared
  within this table only.
- In parentheses, but for gains, 95 % intervals, by {RESAMPLES} bootstrap samples of the drawings.
  Below the exact way's own figures stand changes from them, question by question.
- Loss: whether a recall is lower or the distance greater for certain, at 95 %. With four figures
  a way, some of many ways will seem to lose by chance.

{as_table(report)}"""


def as_table(report: Report) -> str:
    """Return a table: the exact way's own figures, and the others' changes."""
    rules = ["---", *["---:"] * (len(_HEADINGS) - 2), "---"]
    rows = [_HEADINGS, rules, *(_cells(measures) for measures in report.variants)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cells(measures: Measures) -> list[str]:
    if measures.name == EXACT:
        recalls = [f"{measures.recall[name].mean:.3f}" for name in RECALLS]
        return [EXACT, "1", "", "", "", "", *recalls, f"{1000 * measures.distance.mean:.0f}", ""]
    backend_gain = measures.backend_gain if measures.is_exported else None
    return [
        measures.name,
        _times(measures.gain),
        _times(backend_gain) if backend_gain else "",
        f"{measures.psnr.mean:.1f}",
        f"{measures.ssim.mean:.3f}",
        f"{measures.off.mean:.1%}",
        *(_span(measures.recall_change[name], 1, "+.3f") for name in RECALLS),
        _span(measures.distance_change, 1000, "+.0f"),
        "none seen" if measures.is_free else "yes",
    ]


def _times(gain: Gain) -> str:
    low, high = gain.quartiles
    return f"{gain.median:.2f} ({low:.2f} to {high:.2f})"


def _span(interval: Interval, times: float, form: str) -> str:
    low, high = times * interval.low, times * interval.high
    return f"{times * interval.mean:{form}} ({low:{form}} to {high:{form}})"
