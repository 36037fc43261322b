"""The import direction of DESIGN §6, kept by reading the sources."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "testbed"
SOURCES = sorted(ROOT.rglob("*.py"))
IMPURE = {"time", "random", "os", "socket", "subprocess", "asyncio", "scapy", "threading", "select", "secrets"}
PURE = (
    "wire",
    "dpi",
    "link/model.py",
    "link/queue.py",
    "link/spec.py",
    "link/kernel.py",
    "link/fidelity.py",
    "link/observe.py",
    "link/roundtrips.py",
    "scenario",
    "units.py",
    "errors.py",
    *(f"campaign/{name}.py" for name in ("spec", "cells", "through", "pace")),
    *(f"tools/geneva/{name}.py" for name in ("strategy", "parse", "packet", "dns", "play")),
)
#: package → testbed packages it must not know
FORBIDDEN = {
    "wire": {"dpi", "middlebox", "link", "scenario", "net", "apps", "world", "run", "report", "dashboard", "cli"},
    "dpi": {"middlebox", "link", "scenario", "net", "apps", "world", "run", "report", "dashboard", "cli"},
    "link": {"dpi", "middlebox", "scenario", "net", "apps", "world", "run", "report", "dashboard", "cli"},
    "scenario": {"middlebox", "net", "world", "run", "report", "dashboard", "cli"},
    "middlebox": {"scenario", "net", "apps", "world", "run", "report", "dashboard", "cli"},
    "net": {"dpi", "middlebox", "link", "apps", "world", "run", "report", "dashboard", "cli"},
    "world": {"dpi", "middlebox", "link", "run", "report", "dashboard", "cli"},
    "apps": {"dpi", "middlebox", "link", "net", "run", "report", "dashboard", "cli"},
    "tools": {"dpi", "link", "scenario", "run", "report", "dashboard", "cli"},
    "report": {"dpi", "middlebox", "link", "net", "apps", "world", "campaign", "dashboard", "cli"},
    "dashboard": {"net", "apps", "world", "cli"},
    "run": {"dashboard", "campaign", "session", "cli"},
    "session": {"dashboard", "campaign", "cli"},
    "campaign": {"middlebox", "net", "apps", "world", "dashboard", "cli"},
}


def imports(path: Path) -> set[str]:
    """Return the full names of all modules that a source imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def is_pure(path: Path) -> bool:
    relative = path.relative_to(ROOT).as_posix()
    return any(relative == entry or relative.startswith(f"{entry}/") for entry in PURE)


@pytest.mark.parametrize("path", [p for p in SOURCES if is_pure(p)], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_pure_packages_touch_no_clock_chance_or_machine(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_flow_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    known = {name.split(".")[1] for name in imports(path) if name.startswith("testbed.")}
    assert not known & FORBIDDEN.get(package, set())
