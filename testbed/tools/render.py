"""From a recipe to the very words of one run: templates filled in, secrets from the seed. Pure."""

from __future__ import annotations

import difflib
import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jinja2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from testbed.errors import InputError, Problem
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
    """Fill a recipe in; `options` overrides the recipe's own. `InputError` if its templates can't bear them."""
    known = {**variables(place), **with_options(recipe, options)}

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            try:
                return filled(value, known)
            except ValueError as error:
                what = f"`{value.strip()}` can't be filled in: {error}"
                raise InputError([Problem(recipe.recipe, what, "mend it, or the options")]) from None
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


def with_options(recipe: Recipe, options: Mapping[str, str | int]) -> dict[str, str | int]:
    """Return the recipe's options with these laid over them; what is a number there becomes one.

    `InputError` names what the recipe doesn't know, and what should be a number.
    """
    if wrong := [Problem(name, what, mend) for name, (what, mend) in wrong_options(recipe, options).items()]:
        raise InputError(wrong)
    numbers = {name: int(value) for name, value in options.items() if isinstance(recipe.options[name], int)}
    return {**recipe.options, **options, **numbers}


def wrong_options(recipe: Recipe, options: Mapping[str, str | int]) -> dict[str, tuple[str, str]]:
    """Return which options a recipe can't take: name → what is wrong, and the mend."""
    found: dict[str, tuple[str, str]] = {}
    for name, value in options.items():
        known = recipe.options.get(name)
        if known is None:
            near = difflib.get_close_matches(name, recipe.options, 1)
            mend = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(recipe.options) or 'none'}"
            found[name] = (f"no option `{name}`", mend)
        elif isinstance(known, int) and not re.fullmatch(r"-?[0-9]{1,18}", str(value)):
            found[name] = (f"the option `{name}` is a whole number", f"write digits, as {known}")
    return found


def filled(text: str, known: Mapping[str, Any]) -> str:
    """Return a template filled in; `ValueError` says why it can't be."""
    try:
        return ENVIRONMENT.from_string(text).render(known)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(str(error.message)) from None
    except Exception as error:  # a template is a program: it may divide by nothing, or call what it has not
        raise ValueError(re.sub(r"testbed\.[\w.]+\.|\S*<locals>\.", "", str(error))) from None


def variables(place: Place) -> dict[str, Any]:
    """Return what templates may name besides the recipe's options."""

    def chance(name: str, size: int) -> bytes:
        return hashlib.shake_256(f"{place.seed}/{name}".encode()).digest(size)

    def x25519(name: str) -> KeyPair:
        private = X25519PrivateKey.from_private_bytes(chance(name, 32))
        raw = serialization.Encoding.Raw
        secret = private.private_bytes(raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
        public = private.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
        return KeyPair(b64encode(secret).decode(), b64encode(public).decode())

    # `bytes`: as the list of variables says it
    def secret(name: str, bytes: int = 16) -> str:
        return chance(name, bytes).hex()

    def base64(name: str, bytes: int = 32) -> str:
        return b64encode(chance(name, bytes)).decode()

    def uuid(name: str) -> str:
        return str(UUID(bytes=chance(name, 16), version=4))

    return {
        "work": place.work, "server": place.server, "client": place.client, "cert": place.cert, "key": place.key,
        "ca": place.ca, "python": place.python, "site": place.site, "url": _URL,
        "secret": secret, "base64": base64, "uuid": uuid,
        "x25519": x25519,
    }  # fmt: skip
