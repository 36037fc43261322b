"""Which apps go through which tools, and what is said of the others."""

from __future__ import annotations

import pytest

from testbed.scenario.params import PARAMS, SERVERS
from testbed.tools.carry import other_server, why_not
from testbed.tools.recipe import load_recipe

NOWHERE = frozenset[str]()


def said(app: str, recipe: str, server: str = "tools") -> str | None:
    why = why_not(app, SERVERS.get(app, NOWHERE), "way", load_recipe(recipe), server)
    return None if why is None else "; ".join(why)


@pytest.mark.parametrize(
    ("recipe", "server", "refused"),
    [
        ("ssh", "tools", {"dns", "call", "webrtc"}),
        ("pproxy-http", "tools", {"dns", "call", "webrtc"}),
        ("http-newline", "tools", {"dns", "call", "webrtc", "xmpp"}),
        ("wireguard", "web", {"dns"}),
        ("openvpn-udp", "tools", {"dns", "xmpp", "webrtc"}),
        ("openvpn-udp", "relay", {"dns", "call"}),
        ("sshuttle", "web", {"dns", "call", "webrtc"}),
        ("geneva", "tools", {"dns", "call", "webrtc"}),
        ("doh", "tools", set(PARAMS)),
        ("dot", "tools", {"dns"}),
        ("browser-hello", "tools", set(PARAMS)),
        ("direct", "tools", {"dns"}),
    ],
)
def test_what_a_tool_does_not_carry_is_refused(recipe: str, server: str, refused: set[str]) -> None:
    assert {app for app in PARAMS if said(app, recipe, server) is not None} == refused


@pytest.mark.parametrize(
    ("app", "recipe", "words"),
    [
        ("webrtc", "ssh", "`way` is a proxy, which carries no datagrams, and the media of `webrtc` are datagrams; "
         "use a tool that carries the whole host, datagrams too: a VPN such as `wireguard`"),
        ("call", "sshuttle", "`way` carries TCP alone, and the media of `call` are datagrams; use a tool that"),
        ("xmpp", "wireguard", "the server of `xmpp` stands on `tools`, as `way`'s does: it would be reached past the "
         "tunnel; give the tool another world host, as `server: relay`"),
        ("call", "wireguard", None),
    ],
)  # fmt: skip
def test_the_words_say_which_tools_would(app: str, recipe: str, words: str | None) -> None:
    found = said(app, recipe)
    assert found is None if words is None else (found or "").startswith(words)


def test_a_server_is_put_where_it_is_in_nobodys_way() -> None:
    assert other_server(NOWHERE) == "tools"
    assert other_server(SERVERS["webrtc"]) == "relay"
    assert other_server(SERVERS["webrtc"] | SERVERS["call"]) == "media"
    assert other_server(frozenset({"tools", "relay", "media", "messenger"})) == "tools"
