"""The live half of an interception, in the box: remembers handshakes, takes connections over, hands them on.

When the engine says `intercept`, the packet with the ClientHello goes to a socket of ours that stands in for the
server, another stands in for the client, and a process of its own (`opener`) speaks TLS on both: the box goes on
judging packets meanwhile. What came of each connection comes back as a note for the events. It decides nothing.

A connection whose handshake was not seen, or whose hello began in an earlier packet (which the server has, so that it
can't be sent another one), can't be taken over: it passes, and a note says so.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed import proc
from testbed.dpi.decision import Note
from testbed.dpi.policy import Policy
from testbed.errors import TestbedError
from testbed.middlebox import repair
from testbed.middlebox.detour import Detour
from testbed.wire import ip, tcp
from testbed.wire.ip import address_text

_MOST_YOUNG, _MOST_OPEN, _MOST_FRESH = 65536, 512, 4096
_HANDSHAKE_RECORD, _PLAIN_V4 = 22, 0x45
_LONGEST_REPORT_BYTES = 65536
_FRESH_S = 0.5
Key = tuple[bytes, int, bytes, int]


@dataclass(slots=True)
class _Young:
    """A handshake under way or done: what each side said of itself."""

    client: repair.Hello
    server: repair.Hello | None = None


class Interceptor:
    """The interceptions of one box; `policy` may be given anew."""

    def __init__(self, authorities: Path, *, ipv6: bool) -> None:
        self._authorities, self._ipv6 = authorities, ipv6
        self._issuers: Mapping[str, str] = {}
        self._young: OrderedDict[Key, _Young] = OrderedDict()
        self._fresh: OrderedDict[Key, float] = OrderedDict()
        self._open = 0
        self._opener: subprocess.Popen[bytes] | None = None
        self.taken = 0

    def take_policy(self, policy: Policy) -> None:
        """Intercept for a policy's rules from now on; with the first such rule the machinery is started.

        `MachineError` if this machine can't.
        """
        self._issuers = {r.name: r.action.intercept.issuer for r in policy.rules if r.action.intercept is not None}
        if self._issuers and self._opener is None:
            repair.check()
            self._detour = Detour(ipv6=self._ipv6)
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            argv = proc.module("testbed.middlebox.opener", str(theirs.fileno()), str(self._authorities))
            self._opener = subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=2)
            theirs.close()
            self._channel.setblocking(False)

    @property
    def is_open(self) -> bool:
        """Say whether it has ever had a rule to intercept for, so that it must see the packets."""
        return self._opener is not None

    @property
    def descriptors(self) -> list[int]:
        """What to wait for besides packets: the opener's reports."""
        return [] if self._opener is None else [self._channel.fileno()]

    def meets(self, raw: bytes) -> bool:
        """Look at a packet before the engine does; True if it is of a connection just taken over, and dealt with.

        Such packets were on their way to the box's queue when it happened.
        """
        if not self.is_open or not self._concerns(raw):
            return False
        try:
            packet = ip.parse(raw)
            if packet.proto != ip.TCP or packet.is_fragment:
                return False
            segment = tcp.parse(packet.payload)
        except ValueError:
            return False
        ahead = packet.src, segment.sport, packet.dst, segment.dport
        back = packet.dst, segment.dport, packet.src, segment.sport
        if segment.flags & tcp.SYN:
            self._note_syn(segment, ahead, back)
            return False
        if ahead not in self._fresh and back not in self._fresh:
            return False
        self._detour.bring_in(raw)
        return True

    def _concerns(self, raw: bytes) -> bool:
        """Tell at a glance most packets that need no look: those without SYN while nothing was just taken over."""
        while self._fresh and next(iter(self._fresh.values())) < time.monotonic() - _FRESH_S:
            self._fresh.popitem(last=False)
        if not self._fresh and len(raw) >= 40 and raw[0] == _PLAIN_V4:
            return raw[9] == ip.TCP and raw[33] & tcp.SYN != 0
        if not self._fresh and len(raw) >= 60 and raw[0] >> 4 == 6 and raw[6] not in ip.EXTENSIONS:
            return raw[6] == ip.TCP and raw[53] & tcp.SYN != 0
        return True

    def _note_syn(self, segment: tcp.Segment, ahead: Key, back: Key) -> None:
        if not segment.flags & tcp.ACK:
            self._fresh.pop(ahead, None)
            _remember(self._young, ahead, _Young(repair.Hello.of(segment)), _MOST_YOUNG)
        elif back in self._young:
            self._young[back].server = repair.Hello.of(segment)

    def take(self, raw: bytes, rule: str) -> Note | None:
        """Take over the connection of a packet that the engine wants intercepted; the packet comes in with it.

        Return a note if that can't be; the packet then passes.
        """
        packet = ip.parse(raw)
        segment = tcp.parse(packet.payload)
        key = packet.src, segment.sport, packet.dst, segment.dport
        flow = f"tcp {address_text(packet.src)}:{segment.sport} > {address_text(packet.dst)}:{segment.dport}"
        seen = self._young.pop(key, None)
        if seen is None or seen.server is None:
            return Note(rule, flow, "not intercepted: its handshake was not seen")
        if segment.payload[:1] != bytes([_HANDSHAKE_RECORD]):
            return Note(rule, flow, "not intercepted: its hello began in an earlier packet")
        if self._open >= _MOST_OPEN:
            return Note(rule, flow, "not intercepted: too many at once", {"open": self._open})
        stamps = tcp.parse_options(segment.options).timestamps
        client = repair.End(packet.src, segment.sport, seen.client, segment.seq, stamps and stamps[0],
                            segment.window << repair.scale(seen.client, seen.server))  # fmt: skip
        server = repair.End(packet.dst, segment.dport, seen.server, segment.ack, stamps and stamps[1],
                            seen.server.window)  # fmt: skip
        try:
            about = {"rule": rule, "flow": flow, "issuer": self._issuers[rule], "address": server.name[0]}
            self._hand_over(client, server, about)
        except OSError as error:
            return Note(rule, flow, f"not intercepted: {error.strerror}")
        _remember(self._fresh, key, time.monotonic(), _MOST_FRESH)
        self._open += 1
        self.taken += 1
        self._detour.bring_in(raw)
        return None

    def _hand_over(self, client: repair.End, server: repair.End, about: Mapping[str, Any]) -> None:
        pair: list[socket.socket] = []
        try:
            pair.append(repair.stand_in(for_=server, towards=client))
            pair.append(repair.stand_in(for_=client, towards=server))
            socket.send_fds(self._channel, [json.dumps(about).encode()], [mine.fileno() for mine in pair])
        except OSError:
            for mine in pair:
                repair.forget(mine)
            raise
        for mine in pair:
            mine.close()

    def reports(self) -> Iterator[Note]:
        """Yield what came of connections that are over; `TestbedError` if the opener is gone."""
        while self._opener is not None:
            try:
                report = self._channel.recv(_LONGEST_REPORT_BYTES)
            except BlockingIOError:
                return
            if not report:
                raise TestbedError(f"the process that opens connections ended with status {self._opener.wait()}")
            self._open -= 1
            told = json.loads(report)
            yield Note(told.pop("rule"), told.pop("flow"), told.pop("reason"), told)

    def close(self) -> None:
        """End everything: the opener leaves when its channel closes, and resets what is under way."""
        if self._opener is not None:
            self._channel.close()
            self._detour.close()
            try:
                self._opener.wait(timeout=1)
            except subprocess.TimeoutExpired:
                self._opener.kill()
                self._opener.wait()


def _remember(table: OrderedDict[Key, Any], key: Key, value: Any, most: int) -> None:
    """Put an entry last; the first goes if there are too many."""
    table.pop(key, None)
    table[key] = value
    if len(table) > most:
        table.popitem(last=False)
