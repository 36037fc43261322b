"""From an action to the packets the censor sends: resets, ICMP errors, DNS answers, block pages, TLS alerts."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.dpi import craft
from testbed.dpi.action import Action, BlockPage, DnsAnswer, Late, Reset, TlsAlert, Unreachable
from testbed.dpi.chance import Chance
from testbed.dpi.decision import Injection, Side
from testbed.dpi.injector import Injector
from testbed.dpi.sight import Sight
from testbed.wire import ip, tcp

_FLAGS = {"R": tcp.RST, "RA": tcp.RST | tcp.ACK, "F": tcp.FIN, "FA": tcp.FIN | tcp.ACK}
_DATA = tcp.PSH | tcp.ACK
_WHOLE_WINDOW = 65535
_SEGMENT_BYTES = 1360
_FATAL, _ALERT_RECORD = 2, b"\x15\x03\x03\x00\x02"


class Injections:
    """Makes the packets of one policy's actions."""

    def __init__(self, injector: Injector, chance: Chance) -> None:
        self._injector, self._chance = injector, chance

    def of(self, action: Action, sight: Sight) -> tuple[Injection, ...]:
        """Return what an action injects for a packet; nothing where the packet has no form for it."""
        if action.dns_answer is not None:
            return tuple(self._answers(action.dns_answer, sight))
        if action.icmp is not None:
            return tuple(self._unreachable(action.icmp, sight))
        if sight.proto != ip.TCP or sight.is_fragment:
            return ()
        if action.rst is not None:
            return self.resets(action.rst, sight)
        if action.block_page is not None:
            return tuple(self._page(action.block_page, sight))
        if action.tls_alert is not None:
            return tuple(self._alert(action.tls_alert, sight))
        return ()

    def _after(self, late: Late, sight: Sight, copy: int = 0) -> float:
        if not late.spread:
            return late.after
        return late.after + late.spread * self._chance.share(f"late {copy}", sight.key, sight.seq.to_bytes(4, "big"))

    def resets(self, shape: Reset, sight: Sight) -> tuple[Injection, ...]:
        """Return the resets of one shape, to whom it says, the copies in the order they are sent."""
        flags, payload = _FLAGS[shape.flags], bytes.fromhex(shape.payload) or bytes(shape.payload_bytes)
        end = _end(sight)
        to_sender, to_peer = _recipients(shape.to, sight)
        found: list[Injection] = []
        for copy in range(shape.count):
            injector = self._injector
            if shape.ttl_step and copy:
                injector = injector.model_copy(update={"ttl": min(255, injector.ttl + copy * shape.ttl_step)})
            window = (shape.window + copy * shape.window_step) & 0xFFFF
            after = self._after(shape, sight, copy)
            for offset in shape.seq_offsets:
                if to_sender:
                    raw = craft.from_peer(
                        sight, seq=sight.ack + offset, ack=end if flags & tcp.ACK else 0, flags=flags, window=window,
                        payload=payload, injector=injector,
                    )  # fmt: skip
                    found.append(Injection(raw, _home(sight), after))
                if to_peer:
                    raw = craft.as_sender(
                        sight, seq=end + offset, ack=sight.ack if flags & tcp.ACK else 0, flags=flags, window=window,
                        payload=payload, injector=injector,
                    )  # fmt: skip
                    found.append(Injection(raw, _home(sight).other, after))
        return tuple(found)

    def _unreachable(self, spec: Unreachable, sight: Sight) -> Iterator[Injection]:
        after = self._after(spec, sight)
        if spec.to in ("sender", "both"):
            raw = craft.unreachable(sight, spec.code, to_sender=True, injector=self._injector)
            yield Injection(raw, _home(sight), after)
        if spec.to in ("peer", "both"):
            raw = craft.unreachable(sight, spec.code, to_sender=False, injector=self._injector)
            yield Injection(raw, _home(sight).other, after)

    def _answers(self, spec: DnsAnswer, sight: Sight) -> Iterator[Injection]:
        query = sight.query
        if query is None:
            return
        for copy in range(spec.count):
            draw = self._chance.share(f"answer {copy}", sight.key, query.id.to_bytes(2, "big"), query.qname.encode())
            over_tcp = sight.proto == ip.TCP
            message = craft.dns_answer(sight.message, query, spec, draw)
            if message is None:
                continue
            if over_tcp:
                raw = craft.from_peer(
                    sight, seq=sight.ack, ack=_end(sight), flags=_DATA, window=_WHOLE_WINDOW,
                    payload=len(message).to_bytes(2, "big") + message, injector=self._injector,
                )  # fmt: skip
            else:
                raw = craft.udp_packet(sight.dst, sight.src, sight.dport, sight.sport, message, self._injector)
            yield Injection(raw, _home(sight), self._after(spec, sight, copy))

    def _page(self, page: BlockPage, sight: Sight) -> Iterator[Injection]:
        body = page.body.encode()
        lines = [f"HTTP/1.1 {page.status} {page.reason}"]
        lines += [] if page.location is None else [f"Location: {page.location}"]
        lines += ["Content-Type: text/html", f"Content-Length: {len(body)}", "Connection: close", *page.headers]
        content = "\r\n".join([*lines, "", ""]).encode() + body
        yield from self._last_words(content, page, sight)
        if page.rst_peer:
            yield from self.resets(Reset(to="peer", flags="R", after=page.after), sight)

    def _alert(self, alert: TlsAlert, sight: Sight) -> Iterator[Injection]:
        yield from self._last_words(_ALERT_RECORD + bytes([_FATAL, alert.description]), alert, sight)

    def _last_words(self, content: bytes, late: Late, sight: Sight) -> Iterator[Injection]:
        """Yield the server's data in segments, the last with its FIN, to the sender of the packet."""
        parts = [content[at : at + _SEGMENT_BYTES] for at in range(0, len(content), _SEGMENT_BYTES)]
        for number, part in enumerate(parts):
            raw = craft.from_peer(
                sight, seq=sight.ack + number * _SEGMENT_BYTES, ack=_end(sight), window=_WHOLE_WINDOW, payload=part,
                flags=_DATA | (tcp.FIN if number == len(parts) - 1 else 0), injector=self._injector,
            )  # fmt: skip
            yield Injection(raw, _home(sight), self._after(late, sight))


def _home(sight: Sight) -> Side:
    return Side.INSIDE if sight.from_inside else Side.OUTSIDE


def _end(sight: Sight) -> int:
    """Return the sequence number behind a segment."""
    return sight.seq + len(sight.payload) + bool(sight.flags & (tcp.SYN | tcp.FIN))


def _recipients(to: str, sight: Sight) -> tuple[bool, bool]:
    """Return whether the sender and whether the receiver of a packet gets a reset."""
    if to in ("client", "server"):
        sender = (to == "client") is sight.from_client
        return sender, not sender
    return to in ("sender", "both"), to in ("peer", "both")
