"""What happened in a live net, told for people: in a test's report, on a terminal, in a notebook."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.middlebox.live import packet_key
from testbed.session.seen import Decided, Done, Page
from testbed.wire import pcap
from testbed.wire.excerpt import place_of

if TYPE_CHECKING:
    from testbed.session.net import CensoredNet

_ROW, _MOST_ROWS, _TAIL_LINES = 16, 8, 8


def story(net: CensoredNet, since: int = 0) -> str:
    """Return what was done and seen since an item of the history, why each thing failed, and where the files are."""
    lines = [f"policy {net.policy}, link {net.link}, seed {net.seed}"]
    shown: set[str] = set()
    for item in net.history[since:]:
        lines.append(str(item))
        if isinstance(item, (Done, Page)) and not item.ok:
            lines += [f"  {line}" for line in _details(net, item, shown)]
    lines.append(f"run directory: {net.run_dir}")
    lines += [f"capture: {path}" for path in net.captures().values()]
    return "\n".join(lines)


def _details(net: CensoredNet, item: Done | Page, shown: set[str]) -> Iterator[str]:
    if isinstance(item, Done):
        yield from (f"| {line}" for line in (item.stderr or item.stdout).strip().splitlines()[-_TAIL_LINES:])
    yield from item.why.splitlines() or ["the censor did nothing to it: it was the link, the server, or the program"]
    first = next((decided for decided in item.decisions if decided.did_something and decided.packet), None)
    if first is not None and first.packet not in shown:
        shown.add(first.packet)
        packet = packet_of(first, net.captures())
        if packet is not None:
            yield f"the packet that drew it, {len(packet)} bytes, frame {packet_frame(first, net.captures())}:"
            yield from hexdump(packet, place_of(packet, first.evidence.values()))


def packet_of(decided: Decided, captures: dict[str, Path]) -> bytes | None:
    """Return the IP packet that drew a decision, from a capture of its box; None if it isn't there."""
    found = _found(decided, captures)
    return found[2] if found else None


def packet_frame(decided: Decided, captures: dict[str, Path]) -> str:
    """Return where that packet stands, as `3 of gateway-inside`."""
    found = _found(decided, captures)
    return f"{found[1]} of {found[0]}" if found else "unknown"


def _found(decided: Decided, captures: dict[str, Path]) -> tuple[str, int, bytes] | None:
    for name, path in captures.items():
        if not name.startswith(f"{decided.box}-"):
            continue
        # the capture still grows: it may be empty, and its last packet may be there in part
        with path.open("rb") as stream, contextlib.suppress(ValueError, OSError):
            for record in pcap.read(stream):
                packet = pcap.strip_link(record.linktype, record.data)
                if packet is not None and packet_key(packet) == decided.packet:
                    return name, record.frame, bytes(packet)
    return None


def hexdump(data: bytes, around: int = 0) -> Sequence[str]:
    """Return rows of offset, bytes and letters: all of a short packet, else those around a place."""
    rows = range(0, len(data), _ROW)
    first = max(0, min(around // _ROW - _MOST_ROWS // 2, len(rows) - _MOST_ROWS))
    found = []
    for start in list(rows)[first : first + _MOST_ROWS]:
        row = data[start : start + _ROW]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        found.append(f"{start:04x}  {row.hex(' '):<{3 * _ROW}} {letters}")
    return found
