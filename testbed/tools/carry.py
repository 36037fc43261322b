"""Which tools carry which apps. What a tool does not carry goes past it, and its result would speak of something else.

A proxy (SOCKS5, HTTP) carries TCP connections that an app opens by it. A TUN device or a packet filter serves the whole
host: TCP and, unless it says `carries: tcp`, datagrams too. But what goes to the tool's own server must go by the way
that led there before, so an app whose own server stands on the same host would not be in the tunnel.
"""

from __future__ import annotations

from testbed.tools.recipe import Recipe

NO_NAMES = ("`dns` can't go through a tool", "use a `command` of the tool's")
"""Why no tool carries the app `dns`, and the mend."""
_MEDIA = ("call", "webrtc")
_VPN = "use a tool that carries the whole host, datagrams too: a VPN such as `wireguard`, `openvpn-udp` or `anyconnect`"


def why_not(app: str, app_servers: frozenset[str], tool: str, recipe: Recipe, server: str) -> tuple[str, str] | None:
    """Return why an app of this kind can't go through a tool, and the mend; None if it can.

    `app_servers`: the world hosts where the app's own servers stand; `server`: the tool's.
    """
    use = recipe.use
    if app == "dns":
        return NO_NAMES
    if use.command:
        what = f"`{tool}` is a client of its own: apps can't go through it"
        return what, "test it by `testbed tool`, or run its command as an app"
    if use.wrapper and app != "command":
        return f"`{tool}` wraps commands, not `{app}`", "use the app `command`"
    if use.proxy and app in _MEDIA:
        return f"`{tool}` is a proxy, which carries no datagrams, and the media of `{app}` are datagrams", _VPN
    if use.carries == "tcp" and app in _MEDIA:
        return f"`{tool}` carries TCP alone, and the media of `{app}` are datagrams", _VPN
    if use.carries == "http" and app == "xmpp":
        return f"`{tool}` carries pages without TLS, not `xmpp`", "use another proxy or a VPN"
    if use.whole_host and recipe.server and server in app_servers:
        what = f"the server of `{app}` stands on `{server}`, as `{tool}`'s does: it would be reached past the tunnel"
        return what, f"give the tool another world host, as `server: {other_server(app_servers)}`"
    return None


def other_server(taken: frozenset[str]) -> str:
    """Return a world host where a tool's server is in nobody's way; the usual one if all are taken."""
    return next((host for host in ("tools", "relay", "media", "messenger") if host not in taken), "tools")
