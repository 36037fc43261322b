"""The censor's engine: `receive` takes a packet, the side it came from and the time, and says what is done about it.

Rules of this file
  - No clock, no socket, no random source: time is an argument, chance is a hash of the seed.
  - Rules are immutable and compiled once; everything that changes lives in a `Flow`, a residual block or the counters.
  - Hostile bytes never raise: what can't be parsed is passed with a note and counted.

Theory of operation, per packet
  1. Parse IP and transport. Fragments other than the first, and protocols without ports, are judged by address only.
  2. A running residual block answers first: that is what makes it residual.
  3. The flow moves on (see `flow`), then each rule that applies is asked, in the policy's order; the first that
     matches acts. An on-path censor always lets the packet itself pass.
  4. A flow in which no rule can fire any more is offered to the kernel (`Offload.PASS`), one that is dropped for good
     likewise (`Offload.DROP`).
"""

from __future__ import annotations

import hashlib
from typing import Any

from testbed.dpi import craft
from testbed.dpi.decision import PASSED, Decision, Injection, Note, Offload, Side, Verdict
from testbed.dpi.flow import Flow, FlowTable, TcpState
from testbed.dpi.matchers import CompiledRule, Sight, compile_policy
from testbed.dpi.policy import Policy, Reset, Rule, Throttle
from testbed.dpi.residual import Block, ResidualBlocks
from testbed.wire import ip, tcp, udp

_MOST_FLOWS = 1_000_000
_LONGEST_STREAM_BYTES = 16384
_FLAGS = {"R": tcp.RST, "RA": tcp.RST | tcp.ACK, "F": tcp.FIN, "FA": tcp.FIN | tcp.ACK}


class Engine:
    """One censor with its memory."""

    def __init__(self, policy: Policy, *, seed: int, most_flows: int = _MOST_FLOWS) -> None:
        self._seed = seed
        self._flows = FlowTable(most_flows)
        self._blocks = ResidualBlocks()
        self.counters = {"packets": 0, "unparsed": 0, "decisions": 0, "injected": 0, "dropped": 0, "evicted": 0}
        self._take(policy)

    def _take(self, policy: Policy) -> None:
        self.policy = policy
        self._rules = compile_policy(policy)
        self._data_rules = any(rule.match.needs_data for rule in self._rules)
        self._in_path = policy.placement == "in-path"
        wide = any(rule.residual is not None and rule.residual.key != "4-tuple" for rule in policy.rules)
        self._may_offload = not wide

    def replace_policy(self, policy: Policy, now: float) -> Note:
        """Take another policy from the next packet on; flows stay known, blocks of rules that are gone end."""
        before = self.policy.policy
        self._take(policy)
        self._blocks.forget(set(policy.rule_names))
        return Note("policy", "", f"{before} gives way to {policy.policy}", {"rules": list(policy.rule_names)})

    def next_timer(self) -> float | None:
        """Return when `handle_timer` wants to be called; this engine's injections carry their own delay."""
        return None

    def handle_timer(self, now: float) -> list[Injection]:
        """Return the injections that are due."""
        return []

    def receive(self, raw: bytes | memoryview, side: Side, now: float) -> Decision:
        """Judge one IP packet that came from `side` at `now` (Unix seconds)."""
        self.counters["packets"] += 1
        try:
            packet = ip.parse(raw)
            transport = _transport(packet)
        except ValueError as error:
            self.counters["unparsed"] += 1
            return Decision(notes=(Note("unparsed", "", str(error), {"bytes": bytes(raw[:40]).hex()}),))
        source = (packet.src, transport.sport if transport else 0)
        target = (packet.dst, transport.dport if transport else 0)
        from_inside = side is Side.INSIDE
        segment = transport if isinstance(transport, tcp.Segment) else None
        block = self._blocks.find(packet.proto, source, target, now) if len(self._blocks) else None
        if block is not None:
            return self._residual(block, packet, segment, side)
        flow = self._flows.get(packet.proto, source, target, from_inside, now)
        self.counters["evicted"] = self._flows.evicted
        data = b""
        if segment is not None:
            data = self._follow(packet, segment, flow, source == flow.client)
        elif isinstance(transport, udp.Datagram):
            data = bytes(transport.payload)
        if data:
            flow.data_packets += 1
        if flow.dropped_by is not None and self._in_path:
            return self._drop(flow)
        if flow.throttled_by is not None:
            return self._throttle(flow, packet, now)
        return self._judge(Sight(packet, flow, transport, data, self.policy.parser), segment, side, now)

    def _follow(self, packet: ip.Packet, segment: tcp.Segment, flow: Flow, from_client: bool) -> bytes:
        """Move a TCP flow on and return the data that rules look at in this packet."""
        careful = bool(segment.flags & tcp.RST) or self.policy.parser.verify_checksum
        right = not careful or tcp.checksum_ok(packet)
        if not right and self.policy.parser.verify_checksum:
            return b""
        flow.see_tcp(segment, from_client, right)
        if not segment.payload:
            return b""
        if self.policy.parser.reassembly == "in-order" and from_client:
            return flow.extend_stream(segment, _LONGEST_STREAM_BYTES)
        return bytes(segment.payload)

    def _judge(self, sight: Sight, segment: tcp.Segment | None, side: Side, now: float) -> Decision:
        flow = sight.flow
        looks_at_data = bool(sight.data) and (
            segment is None or flow.data_packets <= self.policy.parser.packets_inspected
        )
        for compiled in self._rules:
            rule = compiled.rule
            if compiled.match.needs_data and not looks_at_data:
                continue
            if segment is not None and self._sits_out(rule, flow):
                continue
            evidence = compiled.match.evidence(sight)
            if evidence is None or not self._by_chance(rule, flow, sight):
                continue
            return self._act(compiled, sight, segment, side, now, evidence)
        return self._decided(flow, segment)

    def _sits_out(self, rule: Rule, flow: Flow) -> bool:
        """Say whether a rule has forgotten a TCP flow, or waits for another moment of it."""
        torn = flow.torn_any if rule.teardown == "any" else flow.torn_valid and rule.teardown == "valid"
        return torn or (rule.moment == "handshake" and not flow.handshake_just_done)

    def _by_chance(self, rule: Rule, flow: Flow, sight: Sight) -> bool:
        if rule.probability >= 1.0:
            return True
        query = sight.query
        name = f"{self._seed}|{rule.name}|{flow.key}|{query.id if query else ''}"
        drawn = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
        return drawn < rule.probability * 2.0**64

    def _decided(self, flow: Flow, segment: tcp.Segment | None) -> Decision:
        """Offer a flow to the kernel once no rule can fire in it any more.

        Never where a block may spread over flows: a flow of innocent content could fall into a 2- or 3-tuple block.
        """
        if segment is None or not self._may_offload:
            return PASSED
        enough = self.policy.parser.packets_inspected if self._data_rules else 0
        settled = flow.state is TcpState.ESTABLISHED and not flow.handshake_just_done
        if (flow.data_packets >= enough and settled) or not self._rules:
            return Decision(offload=Offload.PASS)
        return PASSED

    def _act(
        self, compiled: CompiledRule, sight: Sight, segment: tcp.Segment | None, side: Side, now: float,
        evidence: dict[str, Any],
    ) -> Decision:  # fmt: skip
        rule, flow, action = compiled.rule, sight.flow, compiled.rule.action
        self.counters["decisions"] += 1
        silent = rule.needs_handshake and segment is not None and flow.state is TcpState.NEW
        if rule.residual is not None and segment is not None:
            self._blocks.arm(rule, sight.packet.proto, flow.client, flow.server, now)
        reason = "armed without a handshake" if silent else _describe(rule)
        notes = (Note(rule.name, flow_text(sight.packet, sight.transport), reason, evidence),)
        if silent:
            return Decision(notes=notes)
        if action.throttle is not None:
            flow.throttled_by = rule.name
            return self._throttle(flow, sight.packet, now, notes)
        if action.drop is not None:
            if action.drop == "flow":
                flow.dropped_by = rule.name
            self.counters["dropped"] += 1
            offload = Offload.DROP if action.drop == "flow" and segment is not None else Offload.NONE
            return Decision(Verdict.DROP, notes=notes, offload=offload)
        if action.delay is not None:
            return Decision(Verdict.DELAY, until=now + action.delay, notes=notes)
        injections = self._inject(rule, sight, segment, side)
        self.counters["injected"] += len(injections)
        return Decision(injections=injections, notes=notes)

    def _inject(self, rule: Rule, sight: Sight, segment: tcp.Segment | None, side: Side) -> tuple[Injection, ...]:
        action, packet = rule.action, sight.packet
        if action.dns_answer is not None and sight.query is not None and isinstance(sight.transport, udp.Datagram):
            answer = craft.dns_answer(sight.data, sight.query, action.dns_answer)
            source, target = sight.transport.dport, sight.transport.sport
            raw = craft.udp_packet(packet.dst, packet.src, source, target, answer, self.policy.injector)
            return (Injection(raw, side),)
        if segment is None:
            return ()
        if action.block_page is not None:
            page = action.block_page
            body = page.body.encode()
            head = f"HTTP/1.1 {page.status} Forbidden\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n"
            content = head.encode() + b"Connection: close\r\n\r\n" + body
            raw = craft.answer_to_sender(
                packet, segment, seq=segment.ack, ack=segment.seq + len(segment.payload),
                flags=tcp.FIN | tcp.PSH | tcp.ACK, window=65535, payload=content, injector=self.policy.injector,
            )  # fmt: skip
            return (Injection(raw, side),)
        return self._resets(action.rst or Reset(), packet, segment, side)

    def _resets(self, shape: Reset, packet: ip.Packet, segment: tcp.Segment, side: Side) -> tuple[Injection, ...]:
        flags, payload = _FLAGS[shape.flags], bytes(shape.payload_bytes)
        end = segment.seq + len(segment.payload) + bool(segment.flags & (tcp.SYN | tcp.FIN))
        found: list[Injection] = []
        for _ in range(shape.count):
            if shape.to in ("sender", "both"):
                raw = craft.answer_to_sender(
                    packet, segment, seq=segment.ack, ack=end if flags & tcp.ACK else 0, flags=flags,
                    window=shape.window, payload=payload, injector=self.policy.injector,
                )  # fmt: skip
                found.append(Injection(raw, side))
            if shape.to in ("peer", "both"):
                raw = craft.tcp_packet(
                    packet.src, packet.dst, segment.sport, segment.dport, end, segment.ack if flags & tcp.ACK else 0,
                    flags, shape.window, payload, self.policy.injector,
                )  # fmt: skip
                found.append(Injection(raw, side.other))
        return tuple(found)

    def _residual(self, block: Block, packet: ip.Packet, segment: tcp.Segment | None, side: Side) -> Decision:
        rule, residual = block.rule, block.rule.residual
        assert residual is not None
        note = Note(rule.name, flow_text(packet, segment), "inside the residual block", {"until": block.until})
        if residual.reaction == "drop" and self._in_path:
            self.counters["dropped"] += 1
            return Decision(Verdict.DROP, notes=(note,))
        if segment is None or segment.flags & tcp.RST or residual.reaction == "drop":
            return PASSED
        injections = self._resets(rule.action.rst or Reset(), packet, segment, side)
        self.counters["decisions"] += 1
        self.counters["injected"] += len(injections)
        return Decision(injections=injections, notes=(note,))

    def _drop(self, flow: Flow) -> Decision:
        self.counters["dropped"] += 1
        return Decision(Verdict.DROP, offload=Offload.DROP if flow.key[0] == ip.TCP else Offload.NONE)

    def _throttle(self, flow: Flow, packet: ip.Packet, now: float, notes: tuple[Note, ...] = ()) -> Decision:
        """Take a packet from the flow's token bucket, kept as a debt in bytes that drains at the rate."""
        spec = next((c.rule.action.throttle for c in self._rules if c.rule.name == flow.throttled_by), None)
        if spec is None:
            flow.throttled_by = None
            return Decision(notes=notes)
        rate = spec.rate / 8
        level = max(0.0, flow.bucket_level - (now - flow.bucket_time) * rate)
        flow.bucket_time = now
        return self._spend(flow, spec, level, packet.total_len, now, notes)

    def _spend(
        self, flow: Flow, spec: Throttle, level: float, size: int, now: float, notes: tuple[Note, ...]
    ) -> Decision:
        if level + size <= spec.burst:
            flow.bucket_level = level + size
            return Decision(notes=notes)
        if spec.mode == "police":
            flow.bucket_level = level
            self.counters["dropped"] += 1
            return Decision(Verdict.THROTTLE, bucket=flow.throttled_by, notes=notes)
        flow.bucket_level = level + size
        wait_s = (flow.bucket_level - spec.burst) / (spec.rate / 8)
        return Decision(Verdict.DELAY, until=now + wait_s, bucket=flow.throttled_by, notes=notes)


def _transport(packet: ip.Packet) -> tcp.Segment | udp.Datagram | None:
    if packet.is_fragment:
        return None
    if packet.proto == ip.TCP:
        return tcp.parse(packet.payload)
    if packet.proto == ip.UDP:
        return udp.parse(packet.payload)
    return None


def flow_text(packet: ip.Packet, transport: tcp.Segment | udp.Datagram | None) -> str:
    """Write a packet's flow: `tcp 100.64.1.1:40000 > 198.19.3.4:443`."""
    source, target = ip.address_text(packet.src), ip.address_text(packet.dst)
    if transport is None:
        return f"ip/{packet.proto} {source} > {target}"
    name = "tcp" if packet.proto == ip.TCP else "udp"
    return f"{name} {source}:{transport.sport} > {target}:{transport.dport}"


def _describe(rule: Rule) -> str:
    chosen = next(iter(rule.action.model_fields_set))
    return {
        "rst": "reset", "dns_answer": "forged answer", "block_page": "block page", "throttle": "throttled",
        "delay": "delayed", "drop": "dropped",
    }[chosen]  # fmt: skip
