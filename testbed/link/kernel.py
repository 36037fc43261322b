"""The link by the kernel alone: a bridge that joins the two ports, with tbf (and netem where it exists) on each.

For rates that user space would not carry faithfully, and for a link without shaping. What these disciplines can't do
is refused, never ignored. burst = max(2 MTU, rate / 250) bytes: enough for the timer, too little to be seen.
"""

from __future__ import annotations

from testbed.errors import InputError, Problem
from testbed.link.spec import DirectionSpec, LinkSpec

_MTU_BYTES = 1514


def bridge_commands(inside: str, outside: str) -> list[list[str]]:
    """Return the commands that make one segment of the two ports."""
    return [
        ["ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0"],
        ["ip", "link", "set", inside, "master", "br0"],
        ["ip", "link", "set", outside, "master", "br0"],
        ["ip", "link", "set", "br0", "up"],
    ]


def shape_commands(spec: LinkSpec, inside: str, outside: str) -> list[list[str]]:
    """Return the commands that shape the two ports; `InputError` names the keys the kernel can't honour."""
    return [*_shape(spec.up, outside, "up"), *_shape(spec.down, inside, "down")]


def _shape(side: DirectionSpec, port: str, name: str) -> list[list[str]]:
    refused = [key for key, asked in (("by_clock", side.by_clock), ("reorder", side.reorder and side.jitter)) if asked]
    if refused:
        raise InputError(
            [Problem(f"{name}.{key}", "the kernel backend can't do this", "write `backend: user`") for key in refused]
        )
    commands: list[list[str]] = []
    parent = ["root", "handle", "1:"]
    if side.delay or side.loss or side.bursts or side.duplicate:
        commands.append(["tc", "qdisc", "add", "dev", port, *parent, "netem", *_netem(side)])
        parent = ["parent", "1:1", "handle", "10:"]
    if side.rate is not None:
        burst = max(2 * _MTU_BYTES, round(side.rate / 8 / 250))
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
