"""What the censor does once a rule has matched: injections, lasting fates, residual blocks, probes, and their notes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from testbed.dpi.action import Action, Freeze, Reset, Residual
from testbed.dpi.chance import Chance
from testbed.dpi.compiled import CompiledPolicy, CompiledRule
from testbed.dpi.decision import PASSED, Decision, Injection, Note, Probe, Verdict
from testbed.dpi.fate import DROPPED, Bucket, Fate, Frozen, Impaired, Silence, Slow
from testbed.dpi.flow import Flow, TcpState
from testbed.dpi.inject import Injections
from testbed.dpi.probing import Suspects
from testbed.dpi.residual import Block, ResidualBlocks
from testbed.dpi.rule import Rule
from testbed.dpi.sight import Sight
from testbed.wire import ip, tcp

_WORDS = {
    "rst": "reset", "icmp": "unreachable", "dns_answer": "forged answer", "block_page": "block page",
    "tls_alert": "TLS alert", "throttle": "throttled", "freeze": "frozen later", "impair": "impaired",
    "delay": "delayed", "drop": "dropped", "ban": "banned", "intercept": "intercepted", "probe": "to be probed",
    "watch": "noted",
}  # fmt: skip
_DROP_SENDERS = {"flow": "both", "from-client": "client", "from-server": "server"}


class Acts:
    """Carries out the actions of one policy, and keeps what outlives packets: blocks, shared buckets, counts."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self.blocks = ResidualBlocks()
        self.suspects = Suspects()
        self._buckets: dict[tuple[str, bytes], Bucket] = {}
        self.decisions = self.injected = self.dropped = 0

    def take(self, compiled: CompiledPolicy) -> None:
        """Act for another policy from now on."""
        self._compiled = compiled
        self._injections = Injections(compiled.policy.injector, self._chance)
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if key[0] in compiled.names}

    def act(self, compiled: CompiledRule, sight: Sight, flow: Flow, evidence: dict[str, Any]) -> Decision:
        """Do what a rule that has matched a packet says."""
        rule = compiled.rule
        self.decisions += 1
        silent = rule.needs_handshake and sight.proto == ip.TCP and flow.state is TcpState.NEW
        self._arm(rule, sight, flow)
        reason = "armed without a handshake" if silent else _WORDS[rule.action.kind]
        note = Note(rule.name, sight.text, reason, evidence)
        if silent or rule.action.watch:
            return Decision(notes=(note,))
        return replace(self._done(rule, sight, flow), notes=(note,))

    def _arm(self, rule: Rule, sight: Sight, flow: Flow) -> None:
        spec = rule.residual
        if spec is None or sight.is_fragment:
            return
        draw = self._chance.share(f"residual {rule.name}", flow.key, flow.isn.to_bytes(4, "big"))
        if spec.probability < 1.0 and draw >= spec.probability:
            return
        self.blocks.arm(rule, spec, sight.proto, flow.key, sight.now, spec.lasts + spec.spread * draw)

    def _done(self, rule: Rule, sight: Sight, flow: Flow) -> Decision:
        action = rule.action
        fate = self._fate(rule, action, sight, flow)
        if fate is not None:
            flow.fate = fate
            return self.treat(fate, sight)
        if action.drop == "packet" or action.ban is not None:
            self.dropped += 1
            return DROPPED
        if action.delay is not None:
            return Decision(Verdict.DELAY, until=sight.now + action.delay)
        if action.probe is not None:
            return Decision(probes=self.suspects.suspect(rule.name, action.probe, sight, flow))
        if action.intercept is not None:
            return Decision(intercept=rule.name)
        injections = self._injections.of(action, sight)
        self.injected += len(injections)
        if action.dns_answer is not None and action.dns_answer.drop_query and injections and self._compiled.in_path:
            self.dropped += 1
            return Decision(Verdict.DROP, injections=injections)
        return Decision(injections=injections)

    def _fate(self, rule: Rule, action: Action, sight: Sight, flow: Flow) -> Fate | None:
        if action.drop is not None and action.drop != "packet":
            return Silence(rule.name, _DROP_SENDERS[action.drop])
        if action.throttle is not None:
            about = {"flow": flow.key, "host": flow.inside_address, "name": sight.name.encode()}[action.throttle.key]
            if action.throttle.key == "flow":
                return Slow(rule.name, action.throttle, Bucket())
            return Slow(rule.name, action.throttle, self._buckets.setdefault((rule.name, about), Bucket()))
        if action.freeze is not None:
            return Frozen(rule.name, action.freeze, self._frozen_at(rule.name, action.freeze, flow))
        return Impaired(rule.name, action.impair, self._chance) if action.impair is not None else None

    def renewed(self, fate: Fate, rule: Rule, flow: Flow) -> Fate | None:
        """Return a flow's fate as its rule, read again, has it: what was counted stays; None if it has none now."""
        action = rule.action
        if isinstance(fate, Slow) and action.throttle is not None:
            return Slow(rule.name, action.throttle, fate.bucket)
        if isinstance(fate, Frozen) and action.freeze is not None:
            limit = self._frozen_at(rule.name, action.freeze, flow)
            return Frozen(rule.name, action.freeze, limit, fate.bytes, fate.packets)
        if isinstance(fate, Impaired) and action.impair is not None:
            return Impaired(rule.name, action.impair, self._chance, fate.count)
        if isinstance(fate, Silence) and action.drop in _DROP_SENDERS:
            return Silence(rule.name, _DROP_SENDERS[action.drop])
        return None

    def _frozen_at(self, rule: str, spec: Freeze, flow: Flow) -> float:
        """Return the bytes after which a flow freezes."""
        least = float(spec.after_bytes or 0)
        if spec.up_to_bytes is None:
            return least
        share = self._chance.share(f"freeze {rule}", flow.key, flow.isn.to_bytes(4, "big"))
        return least + (spec.up_to_bytes - least) * share

    def treat(self, fate: Fate, sight: Sight) -> Decision:
        """Let a packet meet its flow's fate."""
        decision = fate.treat(sight)
        if decision is None:
            return PASSED
        self.dropped += decision.verdict in (Verdict.DROP, Verdict.THROTTLE)
        return decision

    def residual(self, block: Block, sight: Sight, from_client: bool) -> Decision | None:
        """Answer or drop a packet that falls into a running block; None leaves it to the rules."""
        rule = block.rule
        sight.from_client = from_client
        if block.spec.spreads and sight.proto == ip.TCP:
            self.blocks.arm(rule, block.spec, sight.proto, sight.key, sight.now, block.lasts)
        note = Note(rule.name, sight.text, "inside the residual block", {"left_s": round(block.until - sight.now, 3)})
        if block.spec.reaction == "drop":
            if not self._compiled.in_path:
                return None
            self.dropped += 1
            return Decision(Verdict.DROP, notes=(note,))
        if sight.proto != ip.TCP or sight.is_fragment:
            return None
        if sight.flags & tcp.RST:
            return PASSED
        injections: tuple[Injection, ...] = self._injections.resets(rule.action.rst or Reset(), sight)
        self.decisions += 1
        self.injected += len(injections)
        return Decision(injections=injections, notes=(note,))

    def probed(self, probe: Probe, now: float, *, connected: bool, answer: bytes) -> Note | None:
        """Take what a probe saw; ban a server that has shown itself to be a proxy."""
        suspect = self.suspects.tell(probe, connected=connected, answer=answer)
        rule = next((rule for rule in self._compiled.policy.rules if rule.name == probe.rule), None)
        if suspect is None or rule is None:
            return None
        spec = Residual(lasts=f"{suspect.spec.ban} s", key="server", reaction="drop")
        self.blocks.arm(rule, spec, ip.TCP, suspect.key, now, suspect.spec.ban)
        server = f"{ip.address_text(probe.address)}:{probe.port}"
        evidence = {"server": server, "answered": suspect.answered, "for_s": suspect.spec.ban}
        return Note(rule.name, f"tcp {server}", "banned: it answered like a proxy", evidence)
