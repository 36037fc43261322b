"""What listens in a node, read from the kernel: `{"tcp/443", "udp/53"}`."""

from __future__ import annotations

from pathlib import Path

_TCP_LISTEN, _UDP_UNCONNECTED = "0A", "07"


def listening(pid: int) -> set[str]:
    """Return the ports that something listens on in the network namespace of a process."""
    found: set[str] = set()
    for protocol, state in (("tcp", _TCP_LISTEN), ("udp", _UDP_UNCONNECTED)):
        for name in (protocol, f"{protocol}6"):
            try:
                lines = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
            except OSError:
                continue
            for line in lines:
                fields = line.split()
                if fields[3] == state:
                    found.add(f"{protocol}/{int(fields[1].rpartition(':')[2], 16)}")
    return found
