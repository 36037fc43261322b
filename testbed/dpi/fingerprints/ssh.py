"""SSH, by the identification line that both sides send (RFC 4253 §4.2): `SSH-2.0-software comments`."""

from __future__ import annotations

import re

from testbed.dpi.fingerprints.opening import Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer

_LINE = re.compile(rb"SSH-(1\.\d\d?|2\.0)-([\x20-\x7e]{0,250})")
_START = b"SSH-"
_SHORTEST_LINE_BYTES = 8


def ssh(opening: Opening) -> Answer:
    """Recognise the identification line of either side."""
    waiting = False
    for client in (False, True):
        stream = opening.stream(client)
        match = _LINE.match(stream)
        if match is not None:
            side = "client" if client else "server"
            return {"side": side, "version": match[1].decode(), "software": match[2].decode()}
        if stream and (_START.startswith(stream) or (stream.startswith(_START) and len(stream) < _SHORTEST_LINE_BYTES)):
            waiting = True
    return UNDECIDED if waiting else None
