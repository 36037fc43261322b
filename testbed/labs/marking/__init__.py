"""The checkers: one file a lab. Each compares a student's work with what the captures show, or tries it for real."""

from __future__ import annotations

import importlib

from testbed.labs.work import Mark, Work


def mark(work: Work) -> list[Mark]:
    """Mark a student's work."""
    module = importlib.import_module(f"{__name__}.{work.lab.name.replace('-', '_')}")
    module.examine(work)
    return work.marks
