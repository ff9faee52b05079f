"""What `sampling/sitecustomize.py` has seen in some processes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

SAMPLES = "FLEET_SAMPLES"
"""The environment variable that names the folder."""
MOST = 20


def hot_spots(folder: Path) -> Sequence[tuple[float, str]]:
    """Return where threads were most often, as shares of all that was seen of them at work.

    First by tenstep's own functions, whatever they called, then by what they called.
    """
    seen: Counter[str] = Counter()
    for path in folder.glob("*.json"):
        seen.update(json.loads(path.read_text()))
    total = seen.total() or 1
    own: Counter[str] = Counter()
    for place, count in seen.items():
        own[place.split(" > ")[0]] += count
    both = [*own.most_common(MOST), *seen.most_common(MOST)]
    return [(count / total, place) for place, count in both]
