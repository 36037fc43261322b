"""From a recipe to the very words of one run: templates filled in, secrets from the seed. Pure."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from testbed.tools.recipe import ENVIRONMENT, Launch, Ready, Recipe

_URL = "{{ url }}"


@dataclass(frozen=True, slots=True)
class Place:
    """What differs between two runs of a recipe: folder, addresses, certificate, authority, interpreter, seed."""

    work: str
    server: str
    client: str
    cert: str
    key: str
    ca: str
    python: str
    seed: int
    site: str = "198.18.0.80"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An X25519 key pair, each half in base64."""

    private: str
    public: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A recipe without templates; only `command` keeps `{{ url }}`, which differs from call to call."""

    setup: tuple[tuple[str, ...], ...]
    files: Mapping[str, str]
    server: tuple[Launch, ...]
    client: tuple[Launch, ...]
    proxy: str | None
    wrapper: tuple[str, ...]
    command: tuple[str, ...] = ()
    dns: str | None = None

    def command_for(self, url: str) -> list[str]:
        """Return the client's command that fetches a page."""
        return [word.replace(_URL, url) for word in self.command]


def render(recipe: Recipe, place: Place, options: Mapping[str, str | int]) -> Rendered:
    """Fill a recipe in; `options` overrides the recipe's own."""
    known = {**_variables(place), **recipe.options, **options}

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return ENVIRONMENT.from_string(value).render(known)
        if isinstance(value, Mapping):
            return {key: fill(item) for key, item in value.items()}
        return tuple(fill(item) for item in value) if isinstance(value, (list, tuple)) else value

    def ready(given: Ready) -> Ready:
        filled = {"listens": fill(given.listens), "says": fill(given.says), "succeeds": fill(given.succeeds)}
        return given.model_copy(update=filled)

    def launches(given: Sequence[Launch]) -> tuple[Launch, ...]:
        return tuple(
            launch.model_copy(update={"argv": fill(launch.argv), "env": fill(launch.env), "ready": ready(launch.ready)})
            for launch in given
        )

    return Rendered(
        fill(recipe.setup), fill(recipe.files), launches(recipe.server), launches(recipe.client),
        fill(recipe.use.proxy), fill(recipe.use.wrapper), fill(recipe.use.command), fill(recipe.use.dns),
    )  # fmt: skip


def _variables(place: Place) -> dict[str, Any]:
    def chance(name: str, size: int) -> bytes:
        return hashlib.shake_256(f"{place.seed}/{name}".encode()).digest(size)

    def x25519(name: str) -> KeyPair:
        private = X25519PrivateKey.from_private_bytes(chance(name, 32))
        raw = serialization.Encoding.Raw
        secret = private.private_bytes(raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
        public = private.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
        return KeyPair(base64.b64encode(secret).decode(), base64.b64encode(public).decode())

    return {
        "work": place.work, "server": place.server, "client": place.client, "cert": place.cert, "key": place.key,
        "ca": place.ca, "python": place.python, "site": place.site, "url": _URL,
        "secret": lambda name, size=16: chance(name, size).hex(),
        "base64": lambda name, size=32: base64.b64encode(chance(name, size)).decode(),
        "uuid": lambda name: str(uuid.UUID(bytes=chance(name, 16), version=4)),
        "x25519": x25519,
    }  # fmt: skip
