"""The censor's engine: `receive` takes a packet, the side it came from and the time, and says what is done about it.

Rules of this file
  - No clock, no socket, no random source: time is an argument, chance is a hash of the seed.
  - Rules are immutable and compiled once; everything that changes lives in a `Flow`, a residual block or a count.
  - Hostile bytes never raise: what can't be parsed is passed (or dropped, as the policy says) with a note.

Theory of operation, per packet
  1. A flow that is *settled* (no rule can fire in it any more, or it is dropped for good) is answered at once, and so
     is a packet that is *dull*: none of the flow's rules looks at its like.
  2. The headers are read. Fragments are put together or judged by address only, as the policy's parser does.
  3. A running residual block answers first: that is what makes it residual.
  4. The tracker moves the flow on and says whether its data may be looked at.
  5. A flow with a *fate* (an earlier rule throttles, freezes, drops it) meets it.
  6. Each rule that stands for the flow is asked, in the policy's order; the first that matches acts. An on-path censor
     always lets the packet itself pass.
  7. A flow in which no rule can fire any more is settled, and offered to the kernel.
"""

from __future__ import annotations

from typing import Any

from testbed.dpi.actions import Acts
from testbed.dpi.candidates import NOBODY, Standings
from testbed.dpi.chance import Chance
from testbed.dpi.compiled import CompiledRule, compile_policy
from testbed.dpi.decision import PASSED, Decision, Injection, Note, Offload, Probe, Side, Verdict
from testbed.dpi.fate import FORGOTTEN
from testbed.dpi.fingerprints import Opening
from testbed.dpi.flow import IDLE_S, TORN_ANY, TORN_VALID, Flow, FlowTable
from testbed.dpi.literal import LiteralTracker
from testbed.dpi.policy import Policy
from testbed.dpi.sight import Sight, new_questions, see
from testbed.dpi.tracker import Tracker
from testbed.dpi.volume import Volumes
from testbed.wire import ip, tcp
from testbed.wire.fragments import FragmentKnobs, Fragments

_SETTLED = Decision(offload=Offload.PASS)
_PLAIN_V4 = 0x45


class Engine:
    """One censor with its memory. Contract: DESIGN §3."""

    def __init__(self, policy: Policy, *, seed: int, most_flows: int | None = None) -> None:
        self._chance = Chance(seed)
        self._most_flows = most_flows or policy.tracking.table
        self._tcp, self._udp = FlowTable(self._most_flows), FlowTable(self._most_flows)
        self._others: dict[int, FlowTable] = {}
        self._tcp_flow, self._udp_flow = self._tcp.by_key.get, self._udp.by_key.get
        self._volumes = Volumes(self._chance)
        self._fragments: Fragments | None = None
        self._packets = self._unparsed = 0
        self._generation = self._began = 0
        self._acts = Acts(self._chance)
        self._take(policy)

    def _take(self, policy: Policy) -> None:
        self._compiled = compile_policy(policy)
        self.policy = policy
        self._generation += 1
        self._standing = Standings(self._compiled)
        tracker = LiteralTracker if policy.tracking.literal else Tracker
        self._tracker = tracker(policy.tracking, policy.parser)
        self._strict_offset = policy.parser.verify_data_offset is True
        self._acts.take(self._compiled)
        self._wide = self._compiled.wide_blocks
        self._reads_dns_streams = policy.parser.dns_over_tcp and policy.parser.reassembly != "none"
        self._settled = PASSED if self._wide else _SETTLED
        for flow in (*self._tcp, *self._udp):
            flow.settled = None
        keep = policy.parser.fragments
        self._reads_first = keep == "first-alone"
        if keep == "ignored" or keep == "first-alone":
            self._fragments = None
        elif self._fragments is None or self._fragments.knobs.overlap != keep:
            self._fragments = Fragments(FragmentKnobs(overlap=keep))

    @property
    def counters(self) -> dict[str, int]:
        """Packets seen, not parsed, acted on; packets injected and dropped; flows thrown out of a full table."""
        tables = (self._tcp, self._udp, *self._others.values())
        return {
            "packets": self._packets, "unparsed": self._unparsed, "decisions": self._acts.decisions,
            "injected": self._acts.injected, "dropped": self._acts.dropped,
            "evicted": sum(table.evicted for table in tables),
        }  # fmt: skip

    def replace_policy(self, policy: Policy, now: float) -> Note:
        """Take another policy from the next packet on; flows stay known, what rules that are gone began ends, and what
        a changed rule began goes on as it says now.

        Of a policy by another name no rule is the same, whatever it is called.
        """
        before = self.policy.policy
        self._take(policy)
        if policy.policy != before:
            self._began = self._generation
        lasting = {rule.name for rule in policy.rules if rule.residual is not None or rule.action.probe is not None}
        self._acts.blocks.forget(lasting if policy.policy == before else ())
        return Note("policy", "", f"{before} gives way to {policy.policy}", {"rules": list(policy.rule_names)})

    def forget_flows(self) -> None:
        """Let what comes next of any flow be its first packet: a datagram's ports alone don't say that it is new."""
        for table in (self._tcp, self._udp, *self._others.values()):
            table.clear()

    def next_timer(self) -> float | None:
        """Return when `handle_timer` wants to be called; this engine's injections carry their own delay."""
        return None

    def handle_timer(self, now: float) -> list[Injection]:
        """Return the injections that are due."""
        return []

    def receive(self, raw: bytes | memoryview, side: Side, now: float) -> Decision:
        """Judge one IP packet that came from `side` at `now` (Unix seconds)."""
        self._packets += 1
        if type(raw) is not bytes:
            raw = bytes(raw)
        # the short roads: plain TCP or UDP in IPv4 of a known flow, neither a fragment nor the SYN of a new connection
        if len(raw) > 33 and raw[0] == _PLAIN_V4 and not (raw[6] & 0x3F or raw[7]):
            proto, key, flow = raw[9], raw[12:24], None
            if proto == 6:
                if not raw[33] & tcp.SYN:
                    flow = self._tcp_flow(key)
            elif proto == 17:
                flow = self._udp_flow(key)
            if flow is not None and now - flow.last_seen <= IDLE_S:
                settled = flow.settled
                if settled is None:
                    if self._is_dull(raw, key, flow, now):
                        flow.last_seen = now
                        return PASSED
                elif not self._wide or not self._acts.blocks.any_armed:
                    flow.last_seen = now
                    if settled is FORGOTTEN:
                        self._acts.dropped += 1
                    return settled
        try:
            sight = see(raw, strict_offset=self._strict_offset)
        except ValueError as error:
            return self._not_understood(raw, error)
        if sight.is_fragment and self._reads_first:
            sight = self._first_alone(raw) or sight
        sight.now, sight.from_inside = now, side is Side.INSIDE
        if sight.is_fragment and self._fragments is not None:
            whole = self._fragments.add(ip.parse(raw, cut=True), now)
            if whole is None:
                return PASSED
            try:
                sight = see(whole, strict_offset=self._strict_offset)
            except ValueError as error:
                return self._not_understood(whole, error)
            sight.now, sight.from_inside = now, side is Side.INSIDE
        return self._judge(sight)

    def _first_alone(self, raw: bytes) -> Sight | None:
        """Read a first fragment as if it were all there is; None for a later one, and for one that is too short."""
        if raw[0] >> 4 != 4 or raw[6] & 0x1F or raw[7]:
            return None
        try:
            return see(raw[:6] + bytes([raw[6] & 0xDF]) + raw[7:], strict_offset=self._strict_offset)
        except ValueError:
            return None

    def _is_dull(self, raw: bytes, key: bytes, flow: Flow, now: float) -> bool:
        """Say whether a packet of an open flow concerns no rule and changes nothing but counts, which are then kept.

        It is a DNS message of no interest, or a TCP segment without data in the middle of a connection.
        """
        if flow.generation != self._generation or flow.fate is not None:
            return False
        candidates, is_tcp = flow.candidates, flow.proto == 6
        if is_tcp:
            if not candidates.need_data or not len(raw) == 20 + (raw[32] >> 4) * 4 == raw[2] << 8 | raw[3]:
                return False
            if not self._tracker.stays_as_it_is(flow, raw[33]):
                return False
            if flow.data_packets >= self._compiled.packets_inspected:  # it may be settled now
                return False
        elif candidates.questions is None or not candidates.questions.are_dull(raw):
            return False
        blocks = self._acts.blocks
        if blocks.any_armed and blocks.find(flow.proto, key, now) is not None:
            return False
        if not is_tcp:
            flow.data_packets += 1
            flow.client_packets += key == flow.key
        return True

    def _not_understood(self, raw: bytes, error: ValueError) -> Decision:
        self._unparsed += 1
        note = Note("unparsed", "", str(error), {"bytes": raw[:40].hex()})
        if self.policy.parser.unparsed == "drop" and self._compiled.in_path:
            self._acts.dropped += 1
            return Decision(Verdict.DROP, notes=(note,))
        return Decision(notes=(note,))

    def _judge(self, sight: Sight) -> Decision:
        compiled, acts = self._compiled, self._acts
        sight.compiled, sight.volumes = compiled, self._volumes
        if compiled.counts_volume:
            self._volumes.count(sight)
        proto = sight.proto
        if acts.blocks.any_armed:
            found = acts.blocks.find(proto, sight.key, sight.now)
            if found is not None:
                decision = acts.residual(found[0], sight, found[1])
                if decision is not None:
                    return decision
        table = self._tcp if proto == 6 else self._udp if proto == 17 else self._others.get(proto)
        if table is None:
            table = self._others[proto] = FlowTable(self._most_flows)
        if proto == 6 and sight.flags & tcp.SYN:
            flow = table.opened(sight.key, sight.from_inside, sight.now, answers=bool(sight.flags & tcp.ACK))
        else:
            flow = table.get(proto, sight.key, sight.from_inside, sight.now)
        if flow.generation != self._generation:
            self._candidates(flow)
        elif flow.settled is not None and not (proto == 6 and sight.flags & tcp.SYN):
            acts.dropped += flow.settled is FORGOTTEN
            return flow.settled
        sight.flow = flow
        sight.from_client = from_client = sight.key == flow.key
        if proto == 6 and not sight.is_fragment:
            believed, looks = self._follow_tcp(sight, flow, from_client)
        else:
            believed = looks = True
            sight.data = b"" if sight.is_fragment else sight.payload
        if believed and sight.payload:
            flow.data_packets += 1
            flow.client_packets += from_client
            if compiled.keeps_opening:
                self._show(sight, flow)
            if flow.data_packets > compiled.packets_inspected and (proto == 6 or not flow.candidates.always):
                looks = False
        if flow.fate is not None and compiled.in_path:
            decision = acts.treat(flow.fate, sight)
            if decision is FORGOTTEN:
                flow.settled = FORGOTTEN
            return decision
        if sight.second_data is None or not looks:
            return self._look(sight, flow, looks)
        return self._look_twice(sight, flow, sight.second_data)

    def _look(self, sight: Sight, flow: Flow, looks: bool) -> Decision:
        if self._reads_dns_streams and sight.proto == 6 and sight.dport == 53 and looks and sight.data:
            return self._ask_about_each(sight, flow)
        return self._ask(sight, flow, looks and bool(sight.data))

    def _look_twice(self, sight: Sight, flow: Flow, second: bytes) -> Decision:
        """Ask about both ways to read a stream of which bytes came twice."""
        stream = flow.more().client_stream if sight.from_client else flow.more().server_stream
        read_bytes = stream.read_bytes if stream is not None else 0
        decision = self._look(sight, flow, looks=True)
        if decision.notes or stream is None:
            return decision
        stream.read_bytes = read_bytes
        sight.reads_again(second)
        if self._compiled.keeps_opening:
            self._show(sight, flow)
        return self._look(sight, flow, looks=True)

    def _ask_about_each(self, sight: Sight, flow: Flow) -> Decision:
        """Ask the rules about every question that a segment brings, until one acts."""
        sight.query, asked = None, False
        for query, message in new_questions(sight):
            sight.query, sight.message, asked = query, message, True
            decision = self._ask(sight, flow, looks=True)
            if decision.notes:
                return decision
        return decision if asked else self._ask(sight, flow, looks=True)

    def _follow_tcp(self, sight: Sight, flow: Flow, from_client: bool) -> tuple[bool, bool]:
        """Move a TCP flow on and set the data that rules look at; return whether the segment is believed, whether they
        may look."""
        tracker = self._tracker
        sight.data = b""
        if tracker.careful and not tracker.believes(sight, flow, from_client):
            flow.handshake_just_done = False
            return False, False
        if flow.settled is not None and sight.flags & (tcp.SYN | tcp.ACK) == tcp.SYN:
            flow.settled = None
            flow.begin()
        looks = tracker.follow(sight, flow, from_client)
        if sight.payload and (from_client or self.policy.parser.inspects == "both"):
            sight.data = tracker.data(sight, flow, from_client)
        return True, looks

    def _candidates(self, flow: Flow) -> None:
        """Find the rules that stand for a flow, under the policy of now."""
        known_since, flow.generation = flow.generation, self._generation
        flow.settled = None
        flow.candidates = self._standing.of(flow) if self._looks_at_host(flow) else NOBODY
        if flow.fate is not None:
            rule = None if known_since < self._began else self._compiled.policy.rule(flow.fate.rule)
            flow.fate = None if rule is None else self._acts.renewed(flow.fate, rule, flow)

    def _looks_at_host(self, flow: Flow) -> bool:
        share = self.policy.filtered_hosts
        return share >= 1.0 or self._chance.share("filtered host", flow.inside_address) < share

    def _show(self, sight: Sight, flow: Flow) -> None:
        deep = flow.more()
        if deep.opening is None:
            client, server = flow.client[1], flow.server[1]
            deep.opening = Opening(flow.proto, client, server, most=self._compiled.keeps_opening)
        if flow.proto == ip.TCP:
            self._tracker.show(sight, flow, deep.opening)
            return
        payload = sight.raw[sight.header_len :] if flow.proto in (ip.ICMP, ip.ICMPV6) else sight.payload
        deep.opening.show(sight.from_client, payload, sight.now)

    def _ask(self, sight: Sight, flow: Flow, looks: bool) -> Decision:
        for candidate in flow.candidates.rules:
            if candidate.needs_data and not looks:
                continue
            if sight.proto == 6 and (flow.torn or candidate.waits) and self._sits_out(candidate, flow, sight):
                continue
            evidence = candidate.passes(sight)
            if evidence is None or not (candidate.certain or self._by_chance(candidate, sight, flow)):
                continue
            evidence = {**candidate.match.circumstances(flow), **evidence}
            return self._acts.act(candidate, sight, flow, evidence)
        compiled = self._compiled
        if compiled.counts_volume:  # each packet is counted, so no flow is left alone
            return PASSED
        if not flow.candidates.rules or (flow.data_packets >= compiled.packets_inspected and self._is_over(flow)):
            flow.settled = self._settled
            return self._settled
        return PASSED

    @staticmethod
    def _sits_out(candidate: CompiledRule, flow: Flow, sight: Sight) -> bool:
        """Say whether a rule has forgotten a TCP flow, or waits for another moment of it."""
        torn = flow.torn & (TORN_ANY if candidate.rule.teardown == "any" else TORN_VALID)
        if torn and candidate.follows and candidate.rule.teardown != "ignored":
            return True
        if candidate.waits_for_handshake:
            return not flow.handshake_just_done
        return candidate.waits_for_syn and sight.flags & (tcp.SYN | tcp.ACK) != tcp.SYN

    def _by_chance(self, candidate: CompiledRule, sight: Sight, flow: Flow) -> bool:
        rule = candidate.rule
        probability = rule.probability_at(sight.now)
        if probability >= 1.0:
            return True
        if rule.drawn_per == "connection":
            query = sight.query
            about = (flow.key, flow.isn.to_bytes(4, "big"), query.id.to_bytes(2, "big") if query is not None else b"")
        else:
            about = (flow.inside_address if rule.drawn_per == "client" else flow.outside_address, b"", b"")
        return self._chance.share(f"rule {rule.name}", *about) < probability

    @staticmethod
    def _is_over(flow: Flow) -> bool:
        """Say whether no rule can fire any more in a flow of which enough data was seen."""
        return not (flow.candidates.always or flow.handshake_just_done or flow.fate is not None)

    def probed(self, probe: Probe, *, connected: bool, answer: bytes, now: float) -> Note | None:
        """Take what an active probe saw; return the note of a ban if the server now counts as a proxy."""
        return self._acts.probed(probe, now, connected=connected, answer=answer)

    def remembers(self) -> dict[str, Any]:
        """Return what the engine remembers, in numbers: flows by protocol, running blocks, fates."""
        flows = {"tcp": len(self._tcp), "udp": len(self._udp), **{str(k): len(v) for k, v in self._others.items()}}
        return {"flows": flows, "blocks": len(self._acts.blocks)}
