"""Tor's own TLS (no pluggable transport), by its ClientHello.

Tor makes up a server name `www.` + 8 to 20 base32 letters + `.com` for every connection (tor:
`crypto_random_hostname(8, 20, "www.", ".com")`), offers the fixed cipher list of `ciphers.inc` and, unlike the browser
whose list that was, no ALPN. Censors have used the list since 2011 (China, Iran: Winter & Lindskog, FOCI 2012). The
name alone would hit www.facebook.com, so name, missing ALPN and the list must agree; `sureness` says how closely the
list does.
"""

from __future__ import annotations

import re

from testbed.dpi.fingerprints.opening import Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer
from testbed.wire import tls

_NAME = re.compile(r"www\.[a-z2-7]{8,20}\.com")
_TLS13_SUITES = frozenset({0x1301, 0x1302, 0x1303})
_SCSV = 0x00FF
#: tor's src/lib/tls/ciphers.inc without TLS 1.3's suites, which OpenSSL puts in front
_SUITES = (
    0xC02B, 0xC02F, 0xCCA9, 0xCCA8, 0xC02C, 0xC030, 0xC00A, 0xC009, 0xC013, 0xC014, 0x0033, 0x0039, 0x002F, 0x0035,
)  # fmt: skip
_FEWEST_COMMON = 8


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
    if hello is None or hello.alpn or hello.sni is None or not _NAME.fullmatch(hello.sni):
        return None
    offered = tuple(suite for suite in hello.ciphers if suite not in _TLS13_SUITES and suite != _SCSV)
    listed = tuple(suite for suite in _SUITES if suite in offered)
    if offered != listed or len(offered) < _FEWEST_COMMON:
        return None
    return {"sni": hello.sni, "ciphers": len(offered), "sureness": "high" if offered == _SUITES else "middling"}
