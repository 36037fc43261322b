"""The files for other machines, as far as they can be judged without an engine; the VM is proven by `make vm-test`."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_INSTRUCTION = re.compile(r"^([A-Z]+) (.+)$", re.MULTILINE)
_NEEDED = ("--cap-add", "SYS_ADMIN", "NET_ADMIN", "seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined")


def _instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = [_INSTRUCTION.fullmatch(line) for line in lines]
    assert all(found)
    return [(match[1], match[2]) for match in found if match]


def test_the_image_copies_what_is_there_and_sets_up_as_people_do() -> None:
    instructions = _instructions()
    assert instructions[0] == ("FROM", "debian:bookworm-slim")
    for name, arguments in instructions:
        if name == "COPY":
            assert all((ROOT / source).exists() for source in arguments.split()[:-1]), arguments
        if name in ("ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(arguments), list)
    assert any(name == "RUN" and arguments.startswith("scripts/setup") for name, arguments in instructions)


def test_what_a_container_needs_is_said_the_same_in_both_places() -> None:
    settings = " ".join(json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())["runArgs"])
    documented = (ROOT / "docs/virtual-machine.md").read_text()
    assert all(word in settings and word in documented for word in _NEEDED)


def test_the_virtual_machine_sets_up_as_people_do_and_leaves_emulation_to_its_box() -> None:
    text = (ROOT / "Vagrantfile").read_text()
    assert "scripts/setup" in text
    assert "testbed doctor && scripts/vm-smoke" in text
    assert not re.search(r"\.(driver|cpu_mode)\s*=", text)
    assert 'guest: 8642, host: 8642, host_ip: "127.0.0.1"' in text


def test_shell_scripts_parse() -> None:
    for path in sorted((ROOT / "scripts").iterdir()):
        first = path.read_bytes().split(b"\n", 1)[0] if path.is_file() else b""
        if first.startswith(b"#!/bin/"):
            subprocess.run([first[2:].decode(), "-n", str(path)], check=True)
