"""The link by the kernel alone: a bridge that joins the two ports, with tbf (and netem where it exists) on each.

For rates that user space would not carry faithfully, and for a link without shaping. What these disciplines can't do
is refused, never ignored. Pure: says which commands, runs none.

burst = max(2 MTU, rate / 250) bytes: enough for the timer, too little to be seen. The kernel counts Ethernet frames;
the size table (`stab overhead -14`) takes the header off again, so that a rate counts IP bytes here too. It stands at
the root, from where it holds for what is below: newer kernels refuse it elsewhere ("STAB not supported on a non root").
"""

from __future__ import annotations

from testbed.link.spec import DirectionSpec, LinkSpec

_MTU_BYTES = 1500
_ETHERNET_BYTES = 14


def bridge_commands(inside: str, outside: str) -> list[list[str]]:
    """Return the commands that make one segment of the two ports."""
    return [
        ["ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0"],
        ["ip", "link", "set", inside, "master", "br0"],
        ["ip", "link", "set", outside, "master", "br0"],
        ["ip", "link", "set", "br0", "up"],
    ]


def refusals(side: DirectionSpec) -> list[tuple[str, str]]:
    """Return the keys that these disciplines can't honour, each with the reason."""
    found: list[tuple[str, str]] = []
    if side.by_clock:
        found.append(("by_clock", "the kernel link doesn't know the emulated clock"))
    if side.jitter and not side.reorder:
        found.append(("jitter", "netem's jitter lets packets overtake each other"))
    if side.queue.fair:
        found.append(("queue", "the kernel link has no fair queue"))
    return found


def early_s(side: DirectionSpec) -> float:
    """Return by how much a packet may leave before its latest moment: the burst's time at the rate, and the jitter."""
    burst_s = 0.0 if side.rate is None else _burst_bytes(side.rate) * 8 / side.rate
    return burst_s + 2 * side.jitter


def _burst_bytes(rate_bps: float) -> int:
    return max(2 * _MTU_BYTES, round(rate_bps / 8 / 250))


def netem_keys(spec: LinkSpec) -> list[str]:
    """Return the keys for which a link needs netem, which not every kernel has."""
    sides = (spec.up, spec.down)
    return [key for key in ("delay", "jitter", "loss", "bursts", "duplicate") if any(getattr(s, key) for s in sides)]


def is_cut(spec: LinkSpec) -> bool:
    """Say whether every packet is lost both ways: a cable that is cut."""
    return min(spec.up.loss, spec.down.loss) >= 1.0


def unshape_commands(inside: str, outside: str) -> list[list[str]]:
    """Return the commands that take the shaping of the two ports away; they fail where there is none."""
    return [["tc", "qdisc", "del", "dev", port, "root"] for port in (outside, inside)]


def shape_commands(spec: LinkSpec, inside: str, outside: str) -> list[list[str]]:
    """Return the commands that shape the two ports of a link that `refusals` has nothing against."""
    return [*_shape(spec.up, outside), *_shape(spec.down, inside)]


def _shape(side: DirectionSpec, port: str) -> list[list[str]]:
    commands: list[list[str]] = []
    parent = ["root", "handle", "1:", "stab", "overhead", str(-_ETHERNET_BYTES)]
    if side.delay or side.loss or side.bursts or side.duplicate:
        commands.append(["tc", "qdisc", "add", "dev", port, *parent, "netem", *_netem(side)])
        parent = ["parent", "1:1", "handle", "10:"]
    if side.rate is not None:
        burst = _burst_bytes(side.rate)
        limit = max(round(side.queue.limit_bytes(side.rate)), 2 * _MTU_BYTES) + burst
        shape = ["tbf", "rate", f"{round(side.rate)}bit", "burst", str(burst), "limit", str(limit)]
        commands.append(["tc", "qdisc", "add", "dev", port, *parent, *shape])
    return commands


def _netem(side: DirectionSpec) -> list[str]:
    words = ["limit", "100000", "delay", f"{round(side.delay * 1e6)}us"]
    if side.jitter:
        words += [f"{round(side.jitter * 1e6)}us"]
    if side.bursts is not None:
        b = side.bursts
        chances = (b.p, b.r, b.bad, b.good)
        words += ["loss", "gemodel", *[f"{chance * 100:.6g}%" for chance in chances]]
    elif side.loss:
        words += ["loss", "random", f"{side.loss * 100:.6g}%"]
    if side.duplicate:
        words += ["duplicate", f"{side.duplicate * 100:.6g}%"]
    return words
