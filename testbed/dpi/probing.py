"""Active probing: which servers are suspects, what to send them, and what their behaviour means.

The pure half. The engine asks for connections (`Decision.probes`), an adapter makes them from the outside and tells
what came back, and `verdict` judges it by the rule. As published for China (Ensafi et al. 2015, Alice et al. 2020, D):
probes are random bytes, replays of the client's first payload, and protocols the server would speak if it were
innocent; a server that accepts connections and answers none of them is taken for a proxy.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from testbed.dpi import action
from testbed.dpi.decision import Probe
from testbed.dpi.flow import Flow
from testbed.dpi.sight import Sight
from testbed.wire import ip

_RANDOM_BYTES = 221
_MOST_SUSPECTS = 10_000
_HTTP = b"GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n"


@dataclass(slots=True)
class Suspect:
    """A server under examination: the rule, what its answers were."""

    rule: str
    spec: action.Probe
    key: bytes
    awaited: int
    answered: list[bool] = field(default_factory=list)


class Suspects:
    """The servers under examination, each examined once."""

    def __init__(self) -> None:
        self._open: dict[tuple[bytes, int], Suspect] = {}

    def suspect(self, rule: str, spec: action.Probe, sight: Sight, flow: Flow) -> tuple[Probe, ...]:
        """Return the connections to make to the server of a flow, none if it is known."""
        address, port = flow.server
        if (address, port) in self._open:
            return ()
        if len(self._open) >= _MOST_SUSPECTS:
            del self._open[next(iter(self._open))]
        self._open[address, port] = Suspect(rule, spec, flow.key, len(spec.sends))
        return tuple(
            Probe(rule, address, port, kind, _payload(kind, address, port, sight.payload), spec.after)
            for kind in spec.sends
        )

    def tell(self, probe: Probe, *, connected: bool, answer: bytes) -> Suspect | None:
        """Take what a probe saw; return the suspect once all its probes are back and it looks like a proxy."""
        suspect = self._open.get((probe.address, probe.port))
        if suspect is None:
            return None
        suspect.awaited -= 1
        if connected:
            suspect.answered.append(bool(answer))
        if suspect.awaited > 0 or not suspect.answered:
            return None
        proxy = {"silent": not any(suspect.answered), "any-data": any(suspect.answered), "never": False}
        return suspect if proxy[suspect.spec.proxy_if] else None


def _payload(kind: str, address: bytes, port: int, first: bytes) -> bytes:
    if kind == "replay":
        return first
    if kind == "http":
        return _HTTP % ip.address_text(address).encode()
    if kind == "random":
        seed = address + port.to_bytes(2, "big")
        return b"".join(hashlib.blake2b(seed + bytes([i])).digest() for i in range(4))[:_RANDOM_BYTES]
    return _hello(hashlib.sha256(address).digest()) if kind == "tls" else b""


def _hello(random: bytes) -> bytes:
    """Return a ClientHello without a name, TLS 1.2 and 1.3 both offered as browsers do it."""
    extensions = b"".join(
        kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body
        for kind, body in (
            (10, bytes.fromhex("0006001d00170018")), (11, bytes.fromhex("0100")),
            (13, bytes.fromhex("000c040305030603080408050806")), (16, b"\0\x0c\x02h2\x08http/1.1"),
            (43, bytes.fromhex("0403040303")), (51, bytes.fromhex("0024001d0020") + hashlib.sha256(random).digest()),
        )
    )  # fmt: skip
    ciphers = bytes.fromhex("130113021303c02bc02fc02cc030009c")
    body = b"\x03\x03" + random + b"\0" + len(ciphers).to_bytes(2, "big") + ciphers + b"\1\0"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message
