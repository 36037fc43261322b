"""Where the scenarios, policies and links that ship with the testbed are: beside a checkout, or installed data."""

from __future__ import annotations

import sys
from pathlib import Path

_PLACES = (Path(__file__).parent.parent, Path(sys.prefix) / "share" / "turkmenistan-testbed")


def folder(name: str) -> Path:
    """Return a shipped folder, `policies` or `scenarios/links`."""
    for place in _PLACES:
        if (place / name).is_dir():
            return place / name
    return _PLACES[0] / name


def names(kind: str) -> list[str]:
    """Return the names that ship in a folder."""
    return sorted(path.stem for path in folder(kind).glob("*.yaml"))


def find(reference: str | Path, kind: str) -> Path:
    """Return the file that a reference means: a `Path`, text that looks like one, a shipped name, or a file at hand."""
    text = str(reference)
    if isinstance(reference, Path) or "/" in text or text.endswith((".yaml", ".yml", ".py")):
        return Path(text)
    named = folder(kind) / f"{text}.yaml"
    return Path(text) if not named.exists() and Path(text).is_file() else named
