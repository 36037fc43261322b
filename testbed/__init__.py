"""A country's Internet on one machine: a slow national link and a state's DPI around unmodified programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testbed.report.tables import Run
    from testbed.session.net import CensoredNet

__version__ = "0.1.0"


def load_run(path: str | Path) -> Run:
    """Read a run directory as tables (`testbed.report.tables.Run`); `InputError` if there is no finished run."""
    from testbed.report import tables

    return tables.load_run(path)


def censored_net(**settings: Any) -> CensoredNet:
    """Bring up a live net and return it (`testbed.session.CensoredNet`, which says what can be set)."""
    from testbed.session.net import CensoredNet

    return CensoredNet(**settings)
