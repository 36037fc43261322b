"""What is written on the page can be read: WCAG's contrast of each ink on what is under it, in light and dark."""

from __future__ import annotations

import re

import pytest

from testbed.dashboard.app import STATIC

STYLE = (STATIC / "style.css").read_text(encoding="utf-8")
#: text on cards (WCAG 1.4.3), and the edges of what can be worked (1.4.11)
TEXT, EDGES = 4.5, 3.0


def _colours(root: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})(?=[;\s])", root))


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return WCAG's contrast ratio."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("number", [0, 1], ids=["light", "dark"])
def test_every_ink_can_be_read(number: int) -> None:
    roots = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    colours = _colours(roots[0]) | (_colours(roots[1]) if number else {})
    chips = re.findall(r"\.chip\.[a-z]+(?:, \.chip\.[a-z]+)* \{ color: var\(--([a-z-]+)\)", STYLE)
    assert len(chips) == 3
    for ink in ("ink", "soft", "link", "ok", "slow", "blocked", *chips):
        assert contrast(colours[ink], colours["card"]) >= TEXT, ink
    assert contrast(colours["soft"], colours["page"]) >= TEXT
    assert contrast(colours["main-ink"], colours["main"]) >= TEXT
    assert contrast(colours["strong"], colours["card"]) >= EDGES
