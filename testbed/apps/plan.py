"""Which servers and names the apps of a scenario need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from testbed.apps.profiles import Profile, load_profile
from testbed.scenario.params import WebrtcParams, XmppParams

MESSENGER, MEDIA, RELAY, TOOLS = "198.18.0.20", "198.18.0.21", "198.18.0.22", "198.18.0.30"


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

    @property
    def params(self) -> Mapping[str, Any]:
        """What it is told."""
        ...


class Issuer(Protocol):
    """The part of the run's authority that servers need."""

    @property
    def bundle(self) -> Path:
        """The authority's certificate, for clients beside the servers."""
        ...

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


def _xmpp_servers(apps: Sequence[App]) -> list[str]:
    return sorted({XmppParams.model_validate(app.params).server for app in apps if app.app == "xmpp"})


def _calls(apps: Sequence[App]) -> list[WebrtcParams]:
    return [WebrtcParams.model_validate(app.params) for app in apps if app.app == "webrtc"]


def zone_for(apps: Sequence[App]) -> dict[str, tuple[str, ...]]:
    """Return the names of the apps' servers and their addresses."""
    zone: dict[str, tuple[str, ...]] = {}
    for profile in _profiles(apps):
        zone[profile.chat], zone[profile.media], zone[profile.relay] = (MESSENGER,), (MEDIA,), (RELAY,)
    for name in _xmpp_servers(apps):
        zone[name] = zone[f"upload.{name}"] = (TOOLS,)
    zone |= {call.server: (TOOLS,) for call in _calls(apps)}
    return zone


def serve_specs(apps: Sequence[App], ca: Issuer) -> list[ServeSpec]:
    """Return the servers to start, their certificates issued."""
    return [*_messengers(apps, ca), *_xmpp(apps, ca), *_webrtc(apps, ca)]


def _xmpp(apps: Sequence[App], ca: Issuer) -> list[ServeSpec]:
    if not (names := _xmpp_servers(apps)):
        return []
    cert, key = ca.issue([each for name in names for each in (name, f"upload.{name}")])
    config = {"kind": "xmpp", "names": names, "cert": str(cert), "key": str(key), "ca": str(ca.bundle)}
    return [ServeSpec("xmpp", "tools", config)]


def _webrtc(apps: Sequence[App], ca: Issuer) -> list[ServeSpec]:
    if not (calls := _calls(apps)):
        return []
    cert, key = ca.issue(sorted({call.server for call in calls}))
    ports = sorted({int(relay.split()[1]) for call in calls for relay in call.relays})
    config = {"kind": "webrtc", "address": TOOLS, "ports": ports, "cert": str(cert), "key": str(key)}
    return [ServeSpec("webrtc", "tools", config)]


def _messengers(apps: Sequence[App], ca: Issuer) -> list[ServeSpec]:
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
