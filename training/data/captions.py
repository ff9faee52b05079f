"""What people type for a picture: names of a concept, put into sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Image set -> the words that ask for its look; the first is the one shown to users.
STYLES: dict[str, tuple[str, ...]] = {
    "noto": ("noto style", "noto emoji style"),
    "twemoji": ("flat twemoji style", "flat style", "twemoji style"),
    "fluent": ("glossy 3d style", "3d style", "glossy style"),
}

#: The apostrophe of Unicode names, which nobody types.
CURLY = "\N{RIGHT SINGLE QUOTATION MARK}"

_STYLED = (
    "{thing}, {style}",
    "{thing}, {style}",
    "{thing} in {style}",
    "{thing} emoji, {style}",
    "an emoji of {thing} in {style}",
    "an emoji of {thing}, {style}",
    "a picture of {thing}, {style}",
)
_PLAIN = ("{thing}", "{thing}", "{thing} emoji", "an emoji of {thing}", "{bare}", "{bare} emoji")
_LIGHT = (
    "a photo of {thing}",
    "a picture of {thing}",
    "a drawing of {thing}",
    "an illustration of {thing}",
    "an icon of {thing}",
)

_UNCOUNTED = frozenset(
    {
        *("bacon", "beer", "bread", "broccoli", "bubbles", "butter", "cheese", "coffee", "corn"),
        *("curry", "earth", "fire", "fog", "fries", "garlic", "honey", "ice", "jeans", "lightning"),
        *(
            "milk",
            "poop",
            "popcorn",
            "ramen",
            "rice",
            "salad",
            "soap",
            "spaghetti",
            "sushi",
            "wood",
        ),
    }
)
_PLURAL = re.compile(r"(?<![su])s$")
_CUT = re.compile(r" (?:with|of|in|on|and|from|for|over|behind|suit|showing) ")


def with_article(name: str) -> str:
    """Return "a red apple" for "red apple", "grapes" for "grapes"."""
    text = name.replace(CURLY, "'")
    last = _CUT.split(text)[0].split()[-1]
    if _PLURAL.search(last) or last.lower() in _UNCOUNTED:
        return text
    vowel = re.match(r"(?i)(?:[aeio]|u(?!ni|fo|se|k)|x-)", text)
    return f"{'an' if vowel else 'a'} {text}"


def captions(names: Sequence[str], style: str) -> dict[str, list[str]]:
    """Return the captions of one picture by kind: `styled`, `plain` and `light`.

    Args:
        names: what the concept is called, its label first, which is as frequent as all others
            together.
        style: the image set.
    """
    weighted = [names[0]] * max(1, len(names) - 1) + list(names[1:])
    kinds: dict[str, list[str]] = {"styled": [], "plain": [], "light": []}
    for name in weighted:
        parts = {"thing": with_article(name), "bare": name.replace(CURLY, "'")}
        kinds["plain"] += [form.format(**parts) for form in _PLAIN]
        kinds["light"] += [form.format(**parts) for form in _LIGHT]
        for words in STYLES[style]:
            kinds["styled"] += [form.format(style=words, **parts) for form in _STYLED]
    return kinds


def all_captions(names: Sequence[str], style: str) -> list[str]:
    """Return the captions of one picture, of every kind."""
    return [text for texts in captions(names, style).values() for text in texts]
