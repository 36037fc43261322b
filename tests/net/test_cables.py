"""How cables are laid, without laying them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from testbed import proc
from testbed.net.fabric import Fabric
from testbed.scenario.topology import TopologyShape, plan


def test_no_two_ends_share_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ends with one number the kernel tells late that they are up: what a switch got until then was lost."""
    asked: list[str] = []
    monkeypatch.setattr(proc, "run", lambda argv, *, input, **more: asked.append(input))
    fabric = Fabric(plan(TopologyShape(clients=3)), run_dir=tmp_path)
    pids: Any = {node.name: 1000 + number for number, node in enumerate(fabric.plan.nodes)}
    monkeypatch.setattr(fabric, "_pids", pids)
    fabric._lay_cables()
    numbers = re.findall(r" index (\d+)", asked[0])
    assert len(numbers) == len(set(numbers)) == 2 * len(fabric.plan.cables)
