"""Try to reach the machine from a sandbox; print what was reached. Arguments: tcp:ADDRESS:PORT, udp:…, @NAME."""

from __future__ import annotations

import socket
import sys


def reached(target: str) -> bool:
    """Say whether something answers there."""
    if target.startswith("@"):
        with socket.socket(socket.AF_UNIX) as peer:
            return _connects(peer, "\0" + target[1:])
    kind, _, rest = target.partition(":")
    address, _, port = rest.rpartition(":")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as peer:
        peer.settimeout(1)
        if not _connects(peer, (address, int(port))):
            return False
        if kind == "tcp":
            return True
        try:
            peer.send(b"?")
            return peer.recv(10) == b"!"
        except OSError:
            return False


def _connects(peer: socket.socket, address: object) -> bool:
    try:
        peer.connect(address)  # type: ignore[arg-type]
    except OSError:
        return False
    return True


if __name__ == "__main__":
    print("reached:", *[target for target in sys.argv[1:] if reached(target)])
