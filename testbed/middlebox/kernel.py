"""The kernel's part of a box: forwarded packets go to the queue, flows already decided stay in the kernel.

A verdict may carry a mark; POSTROUTING saves it on the connection, and from then on the first rules answer. A mark
holds a generation number, so that one new rule set forgets all old decisions at once when the policy changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed import proc

QUEUE = 0
_PASS = 0x10000


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of one generation."""

    generation: int

    @property
    def passed(self) -> int:
        """The mark of a flow that may skip the engine."""
        return _PASS | self.generation


def rules(marks: Marks) -> str:
    """Return the mangle table in the form of `iptables-restore`."""
    return "\n".join(
        [
            "*mangle",
            ":PREROUTING ACCEPT [0:0]",
            ":INPUT ACCEPT [0:0]",
            ":FORWARD ACCEPT [0:0]",
            ":OUTPUT ACCEPT [0:0]",
            ":POSTROUTING ACCEPT [0:0]",
            f"-A FORWARD -m connmark --mark {marks.passed:#x} -j ACCEPT",
            f"-A FORWARD -j NFQUEUE --queue-num {QUEUE}",
            f"-A POSTROUTING -m mark --mark {marks.passed:#x} -j CONNMARK --set-mark {marks.passed:#x}",
            "COMMIT",
            "",
        ]
    )


def install(marks: Marks, *, ipv6: bool) -> None:
    """Put the rules in place in one step; this replaces the rules of the generation before."""
    for program in ("iptables-restore", *(["ip6tables-restore"] if ipv6 else [])):
        proc.run([program, "-w", "5"], input=rules(marks))
