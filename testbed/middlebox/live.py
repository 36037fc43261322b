"""The live adapter: packets from NFQUEUE to the engine, verdicts and injected packets back. Owns clock and sockets.

The kernel takes over flows that are decided and rules that need only addresses and ports (see `kernel`); what it drops
is told once a second as an event per rule. How late each packet is judged is measured from its arrival at the wire.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import select
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from testbed import control
from testbed.dpi.byhand import pattern_for, with_blocked
from testbed.dpi.decision import PASSED, Decision, Injection, Note, Offload, Side, Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy
from testbed.errors import MachineError
from testbed.middlebox import kernel, ledger, nfqueue, prober
from testbed.middlebox.interceptor import Interceptor
from testbed.middlebox.plugins import load_allowed
from testbed.middlebox.shortcut import Port, ShortCut
from testbed.wire.excerpt import excerpt

_BATCH = 32
_LONGEST_WAIT_S = 0.5
_TALLY_EVERY_S = 1.0
_LATE_S = 0.05
_INSIDE, _OUTSIDE = Side.INSIDE, Side.OUTSIDE


@dataclass(frozen=True, slots=True)
class BoxConfig:
    """What a box process is told. `t0`: monotonic start of the run; `epoch`: the Unix time it stands for."""

    node: str
    inside_if: str
    outside_if: str
    policy: str
    groups: Mapping[str, list[str]]
    seed: int
    events: str
    control: str
    epoch: float
    t0: float
    ipv6: bool = False
    kernel_rules: bool = True
    """Let the kernel decide what it can; without, every packet is judged by the engine, for comparison."""
    plugins: bool = False
    """Run the code that the policy's plug-ins name."""
    authorities: str = ""
    """The folder of the censor's certificate authorities; default: beside the events."""
    neighbours: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By interface, the addresses of all that can be reached by it without a router; unknown, nothing is cut short."""

    def ports(self) -> ShortCut:
        """Return the box's two ports, as the short cut has to know them."""
        inside, outside = (Port.here(name, self.neighbours.get(name, ())) for name in (self.inside_if, self.outside_if))
        return ShortCut(inside, outside)


@dataclass(order=True, slots=True)
class _Later:
    due: float
    order: int
    packet_id: int = field(compare=False, default=0)
    injection: Injection | None = field(compare=False, default=None)


class LiveBox:
    """One censor in one router."""

    def __init__(self, config: BoxConfig) -> None:
        self.config = config
        self._generation = 1
        self._disabled: set[str] = set()
        self._blocked: dict[str, None] = {}
        self._policy = load_allowed(config.policy, config.groups, plugins=config.plugins)
        self.engine = Engine(self._policy, seed=config.seed)
        self._events: IO[str] = Path(config.events).open("a", encoding="utf-8")  # noqa: SIM115 - closed in close()
        self._inside = socket.if_nametoindex(config.inside_if)
        self._queue = nfqueue.Queue(kernel.QUEUE)
        self._control = control.serve(Path(config.control), self._answer)
        self._raw = {4: _raw_socket(socket.AF_INET)}
        if config.ipv6:
            self._raw[6] = _raw_socket(socket.AF_INET6)
        self._prober = prober.Prober()
        authorities = Path(config.authorities) if config.authorities else Path(config.events).parent / "ca"
        self._interceptor = Interceptor(authorities, ipv6=config.ipv6)
        self._later: list[_Later] = []
        self._order = 0
        self._worst_lag_s = 0.0
        self._late = 0
        self._rules = kernel.Rules(config.inside_if, ipv6=config.ipv6, short_cut=config.ports())
        self._ledger = ledger.Ledger(kernel.TABLE)
        self._tally_at = 0.0
        self._from_monotonic = config.epoch - config.t0
        self._running = True
        self._install()

    def _install(self) -> None:
        self._marks = kernel.Marks(self._generation)
        sets = self.engine.policy.kernel_sets() if self.config.kernel_rules else ()
        self._rules.replace(self._marks, sets)
        self._ledger.begin([item.rule for item in sets])
        self._interceptor.take_policy(self.engine.policy)

    def now(self) -> float:
        """Return the emulated Unix time."""
        return time.monotonic() + self._from_monotonic

    def run(self) -> None:
        """Serve until told to stop. A packet that waits alone pays for the whole round, so the round does little."""
        queue, control_socket = self._queue.fileno(), self._control.fileno()
        while self._running:
            reading, writing = self._prober.sockets()
            wait_s = min(_LONGEST_WAIT_S, max(0.0, self._errands_due() - self.now()))
            # select() and not poll(): its timeout is in microseconds, theirs is rounded up to a millisecond
            ready, writable, _ = select.select(
                [queue, control_socket, *reading, *self._interceptor.descriptors], writing, (), wait_s
            )
            if queue in ready:
                self._drain()
                ready.remove(queue)
            if control_socket in ready:
                self._control.accept_ready()
            if ready or writable or self._errands_due() <= self.now():
                self._run_errands({*ready, *writable})

    def _errands_due(self) -> float:
        """Return when something else than a packet or a socket wants us."""
        due = self._later[0].due if self._later and self._later[0].due < self._tally_at else self._tally_at
        for timer in (self.engine.next_timer(), self._prober.next_due()):
            if timer is not None and timer < due:
                due = timer
        return due

    def _run_errands(self, ready: set[int]) -> None:
        """Do what is due besides judging: probes, news of interceptions, what was held back, the kernel's counts."""
        self._probe(ready)
        for note in self._interceptor.reports():
            self._record(Decision(notes=(note,)), b"", self.now())
        self._send_due()
        self._tally()

    def stop(self) -> None:
        """End `run` after the packet at hand."""
        self._running = False

    def _drain(self) -> None:
        """Judge what waits, at most a batch of it, and hand the verdicts over together."""
        arrivals: list[float] = []
        queue, receive = self._queue, self.engine.receive
        meets = self._interceptor.meets if self._interceptor.is_open else None
        for _ in range(_BATCH):
            packets = queue.receive()
            if not packets:
                break
            for queued in packets:
                arrivals.append(queued.arrived)
                if meets is not None and meets(queued.raw):
                    queue.drop(queued.id)
                    continue
                side = _INSIDE if queued.in_interface == self._inside else _OUTSIDE
                now = time.monotonic() + self._from_monotonic
                decision = receive(queued.raw, side, now)
                if decision is PASSED:
                    queue.accept(queued.id)
                else:
                    self._carry_out(decision, queued, side, now)
        queue.flush()
        if arrivals:
            self._note_lag(arrivals)

    def _carry_out(self, decision: Decision, queued: nfqueue.Queued, side: Side, now: float) -> None:
        """Do with a packet what was decided, and send what goes with it."""
        onward: list[Injection] = []
        for injection in decision.injections:
            if injection.toward is side:
                self._inject(injection, now)
            else:
                onward.append(injection)
        for probe in decision.probes:
            self._prober.start(probe, now)
        if decision.verdict in (Verdict.DROP, Verdict.THROTTLE):
            if decision.offload is Offload.DROP:
                self._queue.accept(queued.id, self._marks.dropped)
            else:
                self._queue.drop(queued.id)
        elif decision.verdict is Verdict.DELAY and decision.until is not None:
            self._push(decision.until, packet_id=queued.id)
        elif decision.intercept is not None:
            self._intercept(queued, decision.intercept, now)
        else:
            self._queue.accept(queued.id, self._marks.passed if decision.offload is Offload.PASS else 0)
        if onward:
            # they continue the packet: before it, a kernel takes their numbers for a guess (RFC 5961 §3.2)
            self._queue.flush()
            for injection in onward:
                self._inject(injection, now)
        if decision.notes:
            self._record(decision, queued.raw, now)

    def _intercept(self, queued: nfqueue.Queued, rule: str, now: float) -> None:
        """Take a connection over, this packet with it; where that can't be, it passes, and the events say why."""
        note = self._interceptor.take(queued.raw, rule)
        if note is None:
            self._queue.drop(queued.id)
        else:
            self._queue.accept(queued.id)
            self._record(Decision(notes=(note,)), b"", now)

    def _probe(self, ready: set[int]) -> None:
        """Go on with the probes under way, and tell the engine what those that are over saw."""
        now = self.now()
        for seen in self._prober.step(ready, now):
            note = self.engine.probed(seen.probe, connected=seen.connected, answer=seen.answer, now=now)
            if note is not None:
                self._record(Decision(notes=(note,)), b"", now)

    def _note_lag(self, arrivals: Sequence[float]) -> None:
        """Note how long the packets of a batch were here, from the wire to their verdict; 0: the kernel didn't say."""
        now = time.time()
        lag_s = now - arrivals[0] if arrivals[0] else 0.0  # the first came first
        if lag_s > self._worst_lag_s:
            self._worst_lag_s = lag_s
        if lag_s > _LATE_S:
            self._late += sum(0 < arrived < now - _LATE_S for arrived in arrivals)

    def _push(self, due: float, *, packet_id: int = 0, injection: Injection | None = None) -> None:
        self._order += 1
        heapq.heappush(self._later, _Later(due, self._order, packet_id, injection))

    def _inject(self, injection: Injection, now: float) -> None:
        if injection.after_s > 0:
            self._push(now + injection.after_s, injection=injection)
        else:
            self._send(injection.raw)

    def _send(self, raw: bytes) -> None:
        if raw[0] >> 4 == 4:
            self._raw[4].sendto(raw, (socket.inet_ntoa(raw[16:20]), 0))
        elif 6 in self._raw:
            self._raw[6].sendto(raw, (socket.inet_ntop(socket.AF_INET6, raw[24:40]), 0))

    def _send_due(self) -> None:
        now = self.now()
        while self._later and self._later[0].due <= now:
            later = heapq.heappop(self._later)
            if later.injection is not None:
                self._send(later.injection.raw)
            else:
                self._queue.accept(later.packet_id)
        timer = self.engine.next_timer()
        if timer is not None and timer <= now:
            for injection in self.engine.handle_timer(now):
                self._inject(injection, now)
        self._queue.flush()

    def _tally(self, *, force: bool = False) -> None:
        """Tell what the kernel dropped by its rules since the last time, at most once a second."""
        now = self.now()
        if now < self._tally_at and not force:
            return
        self._tally_at = now + _TALLY_EVERY_S
        for rule, news in self._ledger.news():
            counted = {"packets": news.packets, "bytes": news.bytes}
            note = Note(rule, "", "dropped by the kernel", counted)
            self._record(Decision(Verdict.DROP, notes=(note,)), b"", now)

    def _record(self, decision: Decision, raw: bytes, now: float) -> None:
        for note in decision.notes:
            event = {
                "t": round(now - self.config.epoch, 6), "now": round(now, 6), "box": self.config.node,
                **note.as_json(), "verdict": decision.verdict.value, "injections": len(decision.injections),
                "trigger": _trigger(raw, note),
            }  # fmt: skip
            self._events.write(json.dumps(event, sort_keys=True) + "\n")
        self._events.flush()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = request["op"]
        if operation == "stats":
            self._tally(force=True)
            return {
                **self.engine.counters, "queue_drops": self._queue.losses(), "worst_lag_s": self._worst_lag_s,
                "late": self._late, "kernel": self._ledger.as_json(), "intercepted": self._interceptor.taken,
                "policy": self._policy.policy, "disabled": sorted(self._disabled),
                "blocked": list(self._blocked),
            }  # fmt: skip
        if operation == "clock":
            self.config = replace(self.config, t0=float(request["t0"]), epoch=float(request["epoch"]))
            self._from_monotonic = self.config.epoch - self.config.t0
            return {"ok": True}
        if operation == "policy":
            self._policy = load_allowed(request["policy"], self.config.groups, plugins=self.config.plugins)
            self._disabled = set()
            if request.get("fresh"):
                self.engine.forget_flows()
        elif operation == "rule":
            if request["rule"] not in self._policy.rule_names:
                raise KeyError(f"no rule {request['rule']!r}; known: {', '.join(self._policy.rule_names)}")
            (self._disabled.discard if request["enabled"] else self._disabled.add)(request["rule"])
        elif operation == "block":
            pattern_for(request["name"])
            if request["blocked"]:
                self._blocked[request["name"]] = None
            else:
                self._blocked.pop(request["name"], None)
        elif operation == "stop":
            self.stop()
            return {"ok": True}
        else:
            raise ValueError(f"unknown operation {operation!r}")
        self._apply()
        return {"ok": True, "rules": list(self.engine.policy.rule_names)}

    def _apply(self) -> None:
        """Give the engine the policy without its disabled rules and with the names typed in.

        The kernel is made to ask again about every flow.
        """
        policy: Policy = with_blocked(self._policy, list(self._blocked))
        for rule in sorted(self._disabled):
            policy = policy.without(rule)
        now = self.now()
        note: Note = self.engine.replace_policy(policy, now)
        self._generation = self._generation % 0xFFFF + 1
        self._tally(force=True)
        self._install()
        self._record(Decision(notes=(note,)), b"", now)

    def close(self) -> None:
        """Let go of sockets and files."""
        self._tally(force=True)
        self._ledger.close()
        self._prober.close()
        self._interceptor.close()
        self._queue.close()
        self._control.close()
        self._events.close()
        for raw in self._raw.values():
            raw.close()


def _raw_socket(family: int) -> socket.socket:
    try:
        raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    except PermissionError:
        raise MachineError("raw sockets are forbidden here, so nothing can be injected",
                           "in a container give it the capability NET_RAW") from None  # fmt: skip
    if family == socket.AF_INET:
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
    return raw


def _trigger(raw: bytes | memoryview, note: Note) -> dict[str, Any]:
    """Return what an event says of the packet that drew it: its name, its size, and the bytes that matter."""
    if not len(raw):
        return {"hash": ""}
    at, shown = excerpt(bytes(raw), note.evidence.values())
    return {"hash": packet_key(raw), "size": len(raw), "at": at, "bytes": shown.hex()}


def packet_key(raw: bytes | memoryview) -> str:
    """Return a name for an IP packet that survives a router: TTL and header checksum don't count."""
    data = bytearray(raw)
    if len(data) >= 20 and data[0] >> 4 == 4:
        data[8] = 0
        data[10:12] = b"\0\0"
    elif len(data) >= 40 and data[0] >> 4 == 6:
        data[7] = 0
    return hashlib.blake2b(bytes(data), digest_size=8).hexdigest()
