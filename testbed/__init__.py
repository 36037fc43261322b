"""A country's Internet on one machine: a slow national link and a state's DPI around unmodified programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.report.tables import Run

__version__ = "0.1.0"


def load_run(path: str | Path) -> Run:
    """Read a run directory as tables (`testbed.report.tables.Run`); `InputError` if there is no finished run."""
    from testbed.report import tables

    return tables.load_run(path)
