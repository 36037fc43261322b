"""Gets the programs that recipes need, by their own remedies: apt, pip, Go modules, crates; each version is pinned."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.tools.recipe import Recipe
from testbed.tools.runner import lacking, own_folder


@dataclass(frozen=True, slots=True)
class Step:
    """One command and the programs it brings; `builds` leaves one program in the folder it is run in, or below it."""

    programs: tuple[str, ...]
    argv: tuple[str, ...]
    builds: bool = False


def plan(wanted: Mapping[str, str]) -> tuple[list[Step], dict[str, str]]:
    """Return the commands that get programs and files by their remedies, and what has to be got by hand, in words."""
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
    steps += [
        Step((program,), _build(remedy), builds=True)
        for program, remedy in sorted(wanted.items())
        if remedy.startswith(("go: ", "cargo: "))
    ]
    known = ("apt: ", "pip: ", "go: ", "cargo: ")
    by_hand = {program: remedy for program, remedy in wanted.items() if not remedy.startswith(known)}
    return steps, by_hand


def _build(remedy: str) -> tuple[str, ...]:
    """Return the command that builds one program into `built`.

    A Go program is built as the only requirement of an empty module: as `go install` would, except that the newest
    version is not asked for, which some proxies know nothing of.
    """
    kind, _, rest = remedy.partition(": ")
    if kind == "cargo":
        return ("cargo", "install", "--quiet", "--locked", "--root", "built", rest)
    module, _, tags = rest.partition(" tags ")
    flags = f"-trimpath -ldflags=-s{f' -tags {tags}' if tags else ''}"
    package = module.partition("@")[0]
    return ("sh", "-ec", f"go mod init tool; go get {module}; go build {flags} -o built/bin/ {package}")


def install(recipes: Sequence[Recipe], *, dry_run: bool = False) -> int:
    """Get everything; one that fails doesn't keep the others. Return 0, or 3 if something is still missing."""
    steps, by_hand = plan({name: remedy for recipe in recipes for name, remedy in lacking(recipe).items()})
    failed: list[str] = []
    for step in steps:
        print(" ".join(step.argv), flush=True)
        if not dry_run and not (_made(step) if step.builds else _run(step.argv)):
            failed += step.programs
    for program, words in sorted(by_hand.items()):
        print(f"{program}: {words}")
    for program in sorted(failed):
        print(f"{program}: could not be got; recipes that need it are skipped", file=sys.stderr)
    return 3 if failed else 0


def _run(argv: Sequence[str], **popen: Any) -> bool:
    # RUNLEVEL=1: a server that apt starts would sit on the machine's own ports
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    environment.setdefault("GOTOOLCHAIN", "auto")
    try:
        return subprocess.run(list(argv), env=environment, check=False, **popen).returncode == 0
    except FileNotFoundError:
        print(f"{argv[0]} is not installed", file=sys.stderr)
        return False


def _made(step: Step) -> bool:
    """Build a program in a folder of its own and take it from there: it may be called `main` or `client`."""
    target = own_folder()
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as folder:
        if not _run(step.argv, cwd=folder):
            return False
        built = sorted((Path(folder) / "built" / "bin").iterdir())
        if len(built) != 1:
            return False
        built[0].replace(target / step.programs[0])
    return True
