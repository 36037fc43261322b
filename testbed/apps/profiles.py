"""Messengers as data: names, ports, sizes, call packets. What is measured and what is our model stands in the files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from testbed.documents import Strict, read_document, validate
from testbed.errors import InputError, Problem
from testbed.units import Duration, Size


def _hex(value: object) -> str:
    try:
        return bytes.fromhex(str(value)).hex()
    except ValueError:
        raise ValueError(f'{value!r} is not hexadecimal bytes; write them in quotes, like `"09 02"`') from None


Hex = Annotated[str, BeforeValidator(_hex)]
_FOLDER = Path(__file__).parent / "profiles"


class CallProfile(Strict):
    """A call: two-way UDP media of one size at one pace, opened by packets of a fixed form."""

    port: int = Field(ge=1, le=65535)
    """The relay's UDP port."""
    every: Duration
    """Time between media packets."""
    size: Size
    """Bytes of a media packet."""
    media: Hex = "80"
    """How a media packet begins; `80` is RTP."""
    signatures: tuple[Hex, ...] = ()
    """The first packets of a call, in order."""


class Profile(Strict):
    """A messenger."""

    profile: str
    title: str
    source: str
    chat: str
    media: str
    relay: str
    port: int = Field(default=443, ge=1, le=65535)
    """The TCP port of chat and media."""
    also: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = ()
    """Other TCP ports of its servers, TLS without a preamble: for `port` of an app's `params`."""
    preamble: Hex = ""
    """Bytes in hexadecimal sent before TLS; empty where there are none."""
    text: Size = 400
    photo: Size = 60_000
    voice: Size = 20_000
    slow_after: Duration = 3.0
    """A message that takes longer counts as slow; model."""
    call: CallProfile
    """What a call looks like."""
    models: tuple[str, ...] = ()
    """The keys whose values are our model, not a measurement."""

    @model_validator(mode="after")
    def _models_are_keys(self) -> Profile:
        known = {*Profile.model_fields, *(f"call.{name}" for name in CallProfile.model_fields)}
        if unknown := sorted(set(self.models) - known):
            raise ValueError(f"no key `{unknown[0]}` to mark as a model; write a key, or `call.KEY`")
        return self


def load_profile(name: str) -> Profile:
    """Load a profile by name; `InputError` says which exist."""
    path = _FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise InputError([Problem(name, "no such profile", f"known: {', '.join(names())}")])
    return validate(read_document(path), Profile)


def names() -> list[str]:
    """Return the profiles that ship."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))
