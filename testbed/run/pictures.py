"""Screenshots named for what they show: `screenshots/APP-PHASE.png`, once the phase of their attempt is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def named_by_phase(results: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Rename the pictures of results and return the results with the new names.

    The second picture of an app in a phase is `APP-PHASE-2.png`; that of an attempt in no phase keeps its name.
    """
    found: list[dict[str, Any]] = []
    for result in results:
        old = result.get("screenshot")
        if old is not None and result.get("phase") and (folder / old).exists():
            new = _free(folder, f"{result['name']}-{result['phase']}")
            (folder / old).rename(folder / new)
            result = {**result, "screenshot": new}
        found.append(dict(result))
    return found


def _free(folder: Path, stem: str) -> str:
    names = (f"{stem}.png", *(f"{stem}-{number}.png" for number in range(2, 10_000)))
    return next(name for name in names if not (folder / name).exists())


def described(results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return for each picture what it shows, in words for those who can't see it."""
    return {
        result["screenshot"]: f"{result['name']}{_where(result)}, {result['verdict']}: {result.get('seen', '')}"
        for result in results
        if result.get("screenshot")
    }


def _where(result: Mapping[str, Any]) -> str:
    return f" in phase {result['phase']}" if result.get("phase") else f" at {result['t']:.1f} s"
