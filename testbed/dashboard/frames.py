"""The frame behind a decision: found in the captures by its key, taken apart, the bytes that matched marked.

While a run lasts, tcpdump's file is read; afterwards the annotated pcapng, where the frame has the same number.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.middlebox.live import packet_key
from testbed.run.directory import RunDirectory
from testbed.wire import pcap

_MOST_FRAMES = 500_000
_SHOWN_BYTES = 1600


def find(directory: RunDirectory, box: str, key: str) -> dict[str, Any] | None:
    """Return the first frame with a packet's key, on the side of the box where it was seen: side, frame, file, raw."""
    for side in ("inside", "outside"):
        for path in (directory.capture(box, side), directory.path / "work" / f"{box}-{side}.pcap"):
            found = _find_in(path, key) if path.exists() else None
            if found is not None:
                name = path.name if path.suffix == ".pcapng" else ""
                return {"side": side, "frame": found[0], "file": name, "raw": found[1]}
    return None


def _find_in(path: Path, key: str) -> tuple[int, bytes] | None:
    with path.open("rb") as stream:
        try:
            for record in pcap.read(stream):
                packet = pcap.strip_link(record.linktype, record.data)
                if packet is not None and packet_key(packet) == key:
                    return record.frame, bytes(packet)
                if record.frame >= _MOST_FRAMES:
                    return None
        except ValueError:  # tcpdump is in the middle of a packet
            return None
    return None


def explain(raw: bytes, evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return a packet's bytes in hexadecimal, the ranges that matched, and its fields as Scapy names them."""
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6

    shown = (IP if raw[:1] and raw[0] >> 4 == 4 else IPv6)(raw).show(dump=True)
    return {"hex": raw[:_SHOWN_BYTES].hex(), "length": len(raw), "matched": matched(raw, evidence), "fields": shown}


def matched(raw: bytes, evidence: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return where the evidence stands in a packet: `start`, `end` and what it is, in the packet's order.

    Names are looked for as text (TLS, HTTP) and as DNS labels (RFC 1035 §3.1), in any case; prefixes as bytes. Evidence
    that is not in the bytes as such (an address, a decrypted QUIC hello) has no place.
    """
    found: list[dict[str, Any]] = []
    for label, wanted in _wanted(evidence):
        start = raw.lower().find(wanted)
        if start >= 0:
            found.append({"start": start, "end": start + len(wanted), "what": label})
    return sorted(found, key=lambda place: (place["start"], -place["end"]))


def _wanted(evidence: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    wanted: list[tuple[str, bytes]] = []
    for key, value in evidence.items():
        if isinstance(value, Mapping):
            prefix = value.get("prefix")
            if isinstance(prefix, str):
                wanted.append((f"{key} prefix", bytes.fromhex(prefix).lower()))
        elif key in ("sni", "http_host", "dns") and isinstance(value, str) and value.isascii():
            labels = value.lower().rstrip(".").split(".")
            wire = b"".join(bytes([len(label)]) + label.encode() for label in labels if len(label) < 64)
            wanted.append((key, wire if key == "dns" else value.lower().encode()))
    return [(label, data) for label, data in wanted if data]
