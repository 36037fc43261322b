"""Gets the programs that recipes need, by their own remedies: apt, pip, `go install`; versions as pinned there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.tools.recipe import Recipe
from testbed.tools.runner import own_folder, search_path


@dataclass(frozen=True, slots=True)
class Step:
    """One command and the programs it brings."""

    programs: tuple[str, ...]
    argv: tuple[str, ...]
    go: bool = False


def plan(recipes: Sequence[Recipe], *, have: Mapping[str, bool]) -> tuple[list[Step], dict[str, str]]:
    """Return the commands that get what is not there, and what has to be got by hand: program → words."""
    wanted = {
        program: remedy
        for recipe in recipes
        for program, remedy in sorted(recipe.needs.programs.items())
        if not have.get(program, False)
    }
    apt = {program: remedy[5:] for program, remedy in wanted.items() if remedy.startswith("apt: ")}
    pip = {program: remedy[5:] for program, remedy in wanted.items() if remedy.startswith("pip: ")}
    steps: list[Step] = []
    if apt:
        root = () if os.geteuid() == 0 else ("sudo",)
        packages = sorted(set(apt.values()))
        argv = (*root, "apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "-q", "--no-install-recommends")
        steps.append(Step(tuple(sorted(apt)), (*argv, *packages)))
    if pip:
        packages = sorted(set(pip.values()))
        steps.append(Step(tuple(sorted(pip)), (sys.executable, "-m", "pip", "install", "--quiet", *packages)))
    for program, remedy in sorted(wanted.items()):
        if remedy.startswith("go: "):
            module, _, tags = remedy[4:].partition(" tags ")
            flags = ("-tags", tags) if tags else ()
            steps.append(Step((program,), ("go", "install", "-trimpath", "-ldflags=-s", *flags, module), go=True))
    by_hand = {
        program: remedy for program, remedy in wanted.items() if not remedy.startswith(("apt: ", "pip: ", "go: "))
    }
    return steps, by_hand


def install(recipes: Sequence[Recipe], *, dry_run: bool = False) -> int:
    """Get everything; one that fails doesn't keep the others. Return 0, or 3 if something is still missing."""
    programs = {program for recipe in recipes for program in recipe.needs.programs}
    have = {program: shutil.which(program, path=search_path()) is not None for program in programs}
    steps, by_hand = plan(recipes, have=have)
    failed: list[str] = []
    for step in steps:
        print(" ".join(step.argv), flush=True)
        if not dry_run and not (_go(step) if step.go else _run(step.argv)):
            failed += step.programs
    for program, words in sorted(by_hand.items()):
        print(f"{program}: {words}")
    for program in sorted(failed):
        print(f"{program}: could not be got; recipes that need it are skipped", file=sys.stderr)
    return 3 if failed else 0


def _run(argv: Sequence[str], env: Mapping[str, str] | None = None) -> bool:
    # RUNLEVEL=1: a server that apt starts would sit on the machine's own ports
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1", **(env or {})}
    try:
        return subprocess.run(list(argv), env=environment, check=False).returncode == 0
    except FileNotFoundError:
        print(f"{argv[0]} is not installed", file=sys.stderr)
        return False


def _go(step: Step) -> bool:
    """Build a module into a folder of its own: its program may be called `main`."""
    target = own_folder()
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as folder:
        if not _run(step.argv, {"GOBIN": folder, "GOTOOLCHAIN": os.environ.get("GOTOOLCHAIN", "auto")}):
            return False
        built = sorted(Path(folder).iterdir())
        if len(built) != 1:
            return False
        built[0].replace(target / step.programs[0])
    return True
