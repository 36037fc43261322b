"""Messengers as data: names, ports, sizes, call packets. What is measured and what is our model stands in the files."""

from __future__ import annotations

from pathlib import Path

from testbed.documents import Strict, read_document, validate
from testbed.errors import InputError, Problem
from testbed.units import Duration, Size

_FOLDER = Path(__file__).parent / "profiles"


class CallProfile(Strict):
    """A call: two-way UDP media of one size at one pace, opened by signature packets (hexadecimal)."""

    port: int
    every: Duration
    size: Size
    signatures: tuple[str, ...] = ()


class Profile(Strict):
    """A messenger."""

    profile: str
    title: str
    source: str
    chat: str
    media: str
    relay: str
    port: int = 443
    preamble: str = ""
    """Bytes in hexadecimal sent before TLS; empty where there are none."""
    text: Size = 400
    photo: Size = 60_000
    voice: Size = 20_000
    slow_after: Duration = 3.0
    """A message that takes longer counts as slow; model."""
    call: CallProfile


def load_profile(name: str) -> Profile:
    """Load a profile by name; `InputError` says which exist."""
    path = _FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise InputError([Problem(name, "no such profile", f"known: {', '.join(names())}")])
    return validate(read_document(path), Profile)


def names() -> list[str]:
    """Return the profiles that ship."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))
