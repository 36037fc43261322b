"""Which servers and names the apps of a scenario need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from testbed.apps.profiles import Profile, load_profile

MESSENGER, MEDIA, RELAY = "198.18.0.20", "198.18.0.21", "198.18.0.22"


class App(Protocol):
    """The part of a scenario's app that decides about servers."""

    @property
    def app(self) -> str:
        """The kind of app."""
        ...

    @property
    def profile(self) -> str | None:
        """The messenger it imitates."""
        ...


class Issuer(Protocol):
    """The part of the run's authority that servers need."""

    def issue(self, names: Sequence[str]) -> tuple[Path, Path]:
        """Return chain and key for names."""
        ...


@dataclass(frozen=True, slots=True)
class ServeSpec:
    """A server process: its name, its node, what it is told."""

    name: str
    node: str
    config: Mapping[str, Any]


def _profiles(apps: Sequence[App]) -> list[Profile]:
    return [load_profile(name) for name in sorted({app.profile for app in apps if app.profile})]


def zone_for(apps: Sequence[App]) -> dict[str, tuple[str, ...]]:
    """Return the names of the apps' servers and their addresses."""
    zone: dict[str, tuple[str, ...]] = {}
    for profile in _profiles(apps):
        zone[profile.chat], zone[profile.media], zone[profile.relay] = (MESSENGER,), (MEDIA,), (RELAY,)
    return zone


def serve_specs(apps: Sequence[App], ca: Issuer) -> list[ServeSpec]:
    """Return the servers to start, their certificates issued."""
    profiles = _profiles(apps)
    if not profiles:
        return []
    chain, key = ca.issue(sorted({name for profile in profiles for name in (profile.chat, profile.media)}))
    first = {profile.port: profile.preamble for profile in profiles}
    plain = {port: "" for profile in profiles for port in profile.also}
    ports = [{"port": port, "preamble": preamble} for port, preamble in sorted({**plain, **first}.items())]
    tls = {"cert": str(chain), "key": str(key), "ports": ports}
    relay = {"kind": "relay", "ports": sorted({profile.call.port for profile in profiles})}
    return [
        ServeSpec("messenger", "messenger", {"kind": "messenger", **tls}),
        ServeSpec("media", "media", {"kind": "messenger", **tls}),
        ServeSpec("relay", "relay", relay),
    ]
