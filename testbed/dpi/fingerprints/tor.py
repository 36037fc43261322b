"""Tor's own TLS (no pluggable transport), by its ClientHello.

Tor makes up a server name for every connection (`crypto_random_hostname`: `www.`, 4 to 25 base32 letters, `.com`),
offers the cipher list of its `ciphers.inc`, once a browser's, and no ALPN, which that browser would. Censors have used
the list since 2011 (Winter & Lindskog, "How the Great Firewall of China is Blocking Tor", FOCI 2012). The name alone
would hit www.facebook.com, so it must come with no ALPN and one of the lists (`sureness: high`), or, for a version
whose list isn't here, itself look made up: digits scattered among letters (`sureness: middling`).
"""

from __future__ import annotations

import re
from itertools import pairwise

from testbed.dpi.fingerprints.opening import Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer
from testbed.wire import tls

_NAME = re.compile(r"www\.([a-z2-7]{4,25})\.com")
_ADDED_BY_OPENSSL = frozenset({0x1301, 0x1302, 0x1303, 0x1304, 0x00FF})
#: tor's ciphers.inc: 2013 to 2017 (Firefox's of then), 2018 to 0.4.8, and 0.4.9 as seen in a capture of 2026. A build
#: of OpenSSL may lack some suites, so what is offered must be one of these lists but for suites that are missing.
_LISTS = (
    (0xC02B, 0xC02F, 0xC00A, 0xC009, 0xC013, 0xC014, 0xC012, 0xC007, 0xC011, 0x0033, 0x0032, 0x0045, 0x0039, 0x0038,
     0x0088, 0x0016, 0x002F, 0x0041, 0x0035, 0x0084, 0x000A, 0x0005, 0x0004),
    (0xC02B, 0xC02F, 0xCCA9, 0xCCA8, 0xC02C, 0xC030, 0xC00A, 0xC009, 0xC013, 0xC014, 0x0033, 0x0039, 0x002F, 0x0035,
     0x000A),
    (0xC02B, 0xC02F, 0xCCA9, 0xCCA8, 0xC02C, 0xC030, 0xC00A, 0xC009, 0xC013, 0xC014, 0x009C, 0x009D, 0x002F, 0x0035),
)  # fmt: skip
_FEWEST_KEPT = 8
_SHORTEST_MADE_UP, _FEWEST_CHANGES = 8, 3


def tor(opening: Opening) -> Answer:
    """Recognise the ClientHello of a Tor client or relay."""
    stream = opening.client_bytes
    if stream[:1] != b"\x16":
        return None
    try:
        hello = tls.client_hello(stream)
    except tls.NeedMore:
        return UNDECIDED
    except ValueError:
        return None
    name = _NAME.fullmatch(hello.sni) if hello is not None and hello.sni is not None else None
    if hello is None or name is None or hello.alpn:
        return None
    offered = tuple(suite for suite in hello.ciphers if suite not in _ADDED_BY_OPENSSL)
    if any(_fits(offered, listed) for listed in _LISTS):
        return {"sni": hello.sni, "ciphers": len(offered), "sureness": "high"}
    return {"sni": hello.sni, "ciphers": len(offered), "sureness": "middling"} if _looks_made_up(name[1]) else None


def _fits(offered: tuple[int, ...], listed: tuple[int, ...]) -> bool:
    kept = tuple(suite for suite in listed if suite in offered)
    return offered == kept and len(kept) >= _FEWEST_KEPT and kept[0] == listed[0]


def _looks_made_up(label: str) -> bool:
    """Say whether letters and digits change places more often than in a name that somebody chose."""
    changes = sum(a.isdigit() != b.isdigit() for a, b in pairwise(label))
    return len(label) >= _SHORTEST_MADE_UP and changes >= _FEWEST_CHANGES
