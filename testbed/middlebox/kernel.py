"""The kernel's part of a box: which forwarded packets go to the queue, and which ones it decides alone.

    forward                                          the queue, whose verdict is NF_ACCEPT, NF_DROP or,
    fragment ────────────────────────────────────▶   to teach the kernel its flow, NF_REPEAT with a mark:
    flow in `passed`: on its way                     back to the head of `forward`
    marked by the queue ────────────────┐
    address or port rule: counted, dropped           │
    flow in `dropped`: counted, dropped              ├▶ mark PASSED: the flow joins `passed`
    SYN: its flow leaves the sets ───────────────▶   └▶ mark DROPPED: it joins `dropped`, and the packet ends here
    everything else ─────────────────────────────▶

There is no conntrack in a box: it would join fragments before the censor sees them. A decided flow is an element of a
set, keyed by its inner and outer end, that the kernel itself adds from the mark of the verdict. It leaves the set when
it was idle for as long as the engine remembers a flow, or when a SYN without ACK asks for a new one.

All of that is one hook, for a hook costs a passed packet as much as half of these rules. Only iptables can say NFQUEUE
on every kernel (nft's own `queue` is missing from some), so it makes the chain `ask`, in the table of its five that is
used least, and the rest is put beside it.

Rules that need nothing but addresses and ports (`Policy.kernel_sets`) become sets with a counter each. A port rule is
about the contacted host's port, and the kernel must take the packet that it sees first for the contacting one, as the
engine does: it remembers in `known` the flows whose first packet came *from* such a port.

A change of policy is one transaction that replaces everything here at once, but for the hooks: no packet slips by or is
lost. Only a flow whose client itself uses a listed port is then judged as if it were new.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from testbed import proc
from testbed.dpi.flow import IDLE_S
from testbed.dpi.policy import KernelSet
from testbed.errors import MachineError
from testbed.middlebox.shortcut import LEASE_S, ShortCut, lease

QUEUE = 0
TABLE = "security"
PASSED, DROPPED = "passed", "dropped"
"""The names of the counters of packets that the kernel decided because their flow was decided before."""
_PASS, _DROP, _BULK = 0x10000, 0x20000, 0x40000
_MOST_FLOWS = 1_000_000
_KNOWN = "known"
_LEASED = "leased"
_ASK = "ask"
_ASKING = f"*{TABLE}\n:{_ASK} - [0:0]\n-A {_ASK} -j NFQUEUE --queue-num {QUEUE}\nCOMMIT\n"
_TIMEOUTS_S = {PASSED: IDLE_S + LEASE_S, DROPPED: IDLE_S, _KNOWN: IDLE_S, _LEASED: LEASE_S}
"""Of the sets of flows; a passed one that has just taken the short cut may be unheard of for the time of its lease."""
_CHAINS = tuple(f"{chain}_{way}" for chain in ("undecided", "passed", "learn", "cross") for way in ("in", "out"))


class _Family(NamedTuple):
    family: str
    type: str
    fragment: str
    protocols: Mapping[str, str]


def _protocols(icmp: str) -> Mapping[str, str]:
    return {"tcp": "meta l4proto tcp", "udp": "meta l4proto udp", "icmp": f"meta l4proto {icmp}"}


_FAMILIES = {
    4: _Family("ip", "ipv4_addr", "ip frag-off & 0x3fff != 0", _protocols("icmp")),
    6: _Family("ip6", "ipv6_addr", "exthdr frag exists", _protocols("ipv6-icmp")),
}


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of one generation of rules: a verdict from before a change of policy teaches the kernel nothing."""

    generation: int

    @property
    def passed(self) -> int:
        """The mark of a flow that may skip the engine."""
        return _PASS | self.generation

    @property
    def dropped(self) -> int:
        """The mark of a flow whose packets the kernel may drop, this one included."""
        return _DROP | self.generation

    @property
    def bulk(self) -> int:
        """The mark of a packet's copy that tells `shortcut` of a passed flow."""
        return _BULK | self.generation


class Rules:
    """The rules of one box: `replace` puts those of a policy in place of those before, all decided flows forgotten.

    From the first ones on, every forwarded packet that they leave undecided waits in the queue.
    """

    def __init__(self, inside: str, *, ipv6: bool, short_cut: ShortCut | None = None) -> None:
        self._inside, self._ipv6, self._short_cut = inside, ipv6, short_cut
        self._before: Sequence[KernelSet] | None = None

    def replace(self, marks: Marks, sets: Sequence[KernelSet]) -> None:
        """Change the rules in one step; `MachineError` if this kernel lacks something that they need."""
        try:
            if self._before is None:
                self._prepare(marks)
            proc.run(["nft", "-f", "-"], input=self._text(marks, sets), timeout_s=30)
        except proc.CommandError as error:
            mend = "`testbed doctor` tries what it needs"
            raise MachineError(f"the kernel refuses the box's rules: {error}", mend) from None
        self._before = sets

    def _text(self, marks: Marks, sets: Sequence[KernelSet]) -> str:
        text = ruleset(marks, sets, self._inside, ipv6=self._ipv6, before=self._before, short_cut=self._short_cut)
        if self._short_cut is not None:
            text += self._short_cut.ruleset(TABLE, PASSED, marks.bulk, ipv6=self._ipv6)
        return text

    def _prepare(self, marks: Marks) -> None:
        """Make the chain that queues, and find out whether this kernel can do the short cut; it is no must."""
        for program in ("iptables-nft-restore", *(["ip6tables-nft-restore"] if self._ipv6 else [])):
            proc.run([program, "--noflush", "-w", "5"], input=_ASKING)
        trial = self._text(marks, ())
        if self._short_cut is not None and proc.run(["nft", "--check", "-f", "-"], input=trial, check=False).status:
            self._short_cut = None


def counter_name(index: int) -> str:
    """Return the name of the counter of one of the sets that `install` was given."""
    return f"rule{index}"


def ruleset(
    marks: Marks,
    sets: Sequence[KernelSet],
    inside: str,
    *,
    ipv6: bool,
    before: Sequence[KernelSet] | None = None,
    short_cut: ShortCut | None = None,
) -> str:
    """Return the tables, one for each family, as `nft -f` reads them.

    `before`: the sets that stand in them now; `short_cut`: to be told of passed flows.

    A packet of a passed flow is the most frequent one by far, so it meets as few expressions as can be: each costs
    some ten nanoseconds, a forwarded packet some two thousand.
    """
    return "".join(
        _table(version, marks, sets, inside, before, leasing=short_cut is not None and short_cut.leads(version))
        for version in ((4, 6) if ipv6 else (4,))
    )


def _table(
    version: int,
    marks: Marks,
    sets: Sequence[KernelSet],
    inside: str,
    before: Sequence[KernelSet] | None,
    *,
    leasing: bool,
) -> str:
    """Return one family's table.

    The chain at the hook is never deleted: when any hook of a namespace goes, the kernel throws away every packet that
    waits in a queue (`nf_queue_nf_hook_drop`).
    """
    name = f"{_FAMILIES[version].family} {TABLE}"
    ways = _Way(version, from_inside=True), _Way(version, from_inside=False)
    parts = [
        *(_flow_set(flows, version) for flows in _TIMEOUTS_S),
        *(text for index, item in enumerate(sets) for text in _prefix_set(index, item, version)),
        *(f"counter {counter} {{ }}" for counter in _counters(sets)),
        *(_block(f"chain undecided_{way.name}", [f"meta mark != 0 goto learn_{way.name}", f"goto {_ASK}"])
          for way in ways),
        *(_block(f"chain passed_{way.name}", _passed(way, marks, leasing=leasing)) for way in ways),
        *(_block(f"chain learn_{way.name}", _learning(way, marks)) for way in ways),
        *(_block(f"chain cross_{way.name}", _crossing(way, sets)) for way in ways),
        _block("chain forward", [f'iif "{inside}" goto cross_in', "goto cross_out"]),
    ]  # fmt: skip
    lines = [
        f"add table {name}",
        f"add chain {name} forward {{ type filter hook forward priority -160; policy accept; }}",
        *(f"add chain {name} {chain}" for chain in _CHAINS),
        *(f"flush chain {name} {chain}" for chain in ("forward", *_CHAINS)),
        *(f"delete {kind} {name} {thing}" for kind, thing in ([] if before is None else _contents(version, before))),
        _block(f"table {name}", parts),
    ]
    return "\n".join(lines) + "\n"


def _contents(version: int, sets: Sequence[KernelSet]) -> Iterator[tuple[str, str]]:
    """Yield what the chains of a table with these sets name, to be deleted once their rules are gone."""
    yield from (("set", flows) for flows in _TIMEOUTS_S)
    yield from (("set", f"prefixes{n}") for n, item in enumerate(sets) if _of_version(item.prefixes, version))
    yield from (("counter", name) for name in _counters(sets))


def _counters(sets: Sequence[KernelSet]) -> Iterator[str]:
    yield from (PASSED, DROPPED)
    yield from map(counter_name, range(len(sets)))


@dataclass(frozen=True, slots=True)
class _Way:
    """One address family in one direction; the key names a flow by its inner and outer end."""

    version: int
    from_inside: bool

    @property
    def name(self) -> str:
        """The way's part of the names of its chains: where its packets come from."""
        return "in" if self.from_inside else "out"

    @property
    def key(self) -> str:
        """The flow of a packet."""
        inner, outer = ("s", "d") if self.from_inside else ("d", "s")
        family = _FAMILIES[self.version].family
        return f"{family} {inner}addr . {family} {outer}addr . meta l4proto . th {inner}port . th {outer}port"


def _crossing(way: _Way, sets: Sequence[KernelSet]) -> list[str]:
    undecided = f"goto undecided_{way.name}"
    return [
        f"{_FAMILIES[way.version].fragment} {undecided}",
        f"{way.key} @{PASSED} goto passed_{way.name}",
        f"meta mark != 0 goto learn_{way.name}",
        *(rule for index, item in enumerate(sets) for rule in _address_rules(index, item, way)),
        f"tcp flags & (syn | ack) == syn delete @{DROPPED} {{ {way.key} }} {undecided}",
        f"{way.key} @{DROPPED} update @{DROPPED} {{ {way.key} }} counter name {DROPPED} drop",
        undecided,
    ]


def _passed(way: _Way, marks: Marks, *, leasing: bool) -> list[str]:
    # every TCP flow hears from the inside, if only in acknowledgements: to be kept, it need not be touched twice
    kept = "" if way.from_inside else "meta l4proto udp "
    leased = f"meta l4proto tcp {way.key} != @{_LEASED} add @{_LEASED} {{ {way.key} }} {lease(way.version, marks.bulk)}"
    return [
        # SYN without ACK; a datagram may look so
        f"@th,104,8 & 0x12 == 0x02 delete @{PASSED} {{ {way.key} }} delete @{_LEASED} {{ {way.key} }} "
        f"goto undecided_{way.name}",
        f"{kept}update @{PASSED} {{ {way.key} }}",
        *([leased] if leasing and way.from_inside else []),
        f"counter name {PASSED} accept",
    ]


def _learning(way: _Way, marks: Marks) -> list[str]:
    flow = "meta l4proto { tcp, udp } update"
    return [
        f"meta mark {marks.passed:#x} {flow} @{PASSED} {{ {way.key} }}",
        f"meta mark {marks.dropped:#x} {flow} @{DROPPED} {{ {way.key} }}",
        f"meta mark & {_DROP:#x} != 0 drop",
        "accept",
    ]


def _address_rules(index: int, item: KernelSet, way: _Way) -> Iterator[str]:
    family = _FAMILIES[way.version]
    protocol = family.protocols[item.protocol] if item.protocol else "meta l4proto { tcp, udp }" if item.ports else ""
    action = f"counter name {counter_name(index)} drop"
    if not item.prefixes:
        ends = [""]
    elif _of_version(item.prefixes, way.version):
        ends = [f"{family.family} {end} @prefixes{index} " for end in ("daddr", "saddr")]
    else:
        return
    if not item.ports:
        yield from (f"{end}{protocol} {action}".strip() for end in ends)
        return
    ports = f"{{ {', '.join(f'{low}-{high}' if low != high else str(low) for low, high in item.ports)} }}"
    yield f"{protocol} th sport {ports} th dport != {ports} update @{_KNOWN} {{ {way.key} }}"
    for end in ends:
        contacted = f"{end}{protocol} th dport {ports} {way.key} != @{_KNOWN}"
        yield f"{contacted} update @{DROPPED} {{ {way.key} }} {action}"


def _prefix_set(index: int, item: KernelSet, version: int) -> Iterator[str]:
    found = _of_version(item.prefixes, version)
    if found:
        lines = [
            f"type {_FAMILIES[version].type}",
            "flags interval",
            "auto-merge",
            f"elements = {{ {', '.join(found)} }}",
        ]
        yield _block(f"set prefixes{index}", lines)


def _of_version(prefixes: Iterable[str], version: int) -> list[str]:
    networks = (ipaddress.ip_network(text, strict=False) for text in prefixes)
    return [str(network) for network in networks if network.version == version]


def _flow_set(name: str, version: int) -> str:
    address = _FAMILIES[version].type
    kind = f"type {address} . {address} . inet_proto . inet_service . inet_service"
    timeout = f"timeout {_TIMEOUTS_S[name]:.0f}s"
    return _block(f"set {name}", [kind, "flags dynamic,timeout", timeout, f"size {_MOST_FLOWS}"])


def _block(head: str, lines: Iterable[str]) -> str:
    body = "\n".join(f"  {line}" for text in lines for line in text.splitlines())
    return f"{head} {{\n{body}\n}}"
