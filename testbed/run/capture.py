"""Captures of both sides of each box: raw by tcpdump, then pcapng with the censor's word on the packets it judged.

tcpdump writes while the run lasts. Afterwards `annotate` turns each file into pcapng, puts the rule and the reason as a
comment on the frame that drew a decision (Wireshark shows it), and tells which decision belongs to which frame.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed.middlebox.live import packet_key
from testbed.wire import pcap

SNAPLEN_BYTES = 2048


def command(interface: str, path: Path, kept_bytes: int = SNAPLEN_BYTES) -> list[str]:
    """Return the command that captures one interface, IP and ARP alike, each packet written at once.

    Without immediate mode the kernel hands packets over up to a second late, and a short command's would be lost.
    tcpdump changes its user as root, which the root of an ordinary user's sandbox may not: there dumpcap stands in.
    """
    if os.environ.get("TESTBED_ROOTLESS"):
        return ["dumpcap", "-q", "-P", "-i", interface, "-s", str(kept_bytes), "-B", "8", "-w", str(path)]
    return [
        "tcpdump", "-i", interface, "-n", "-U", "--immediate-mode", "-s", str(kept_bytes), "-B", "8192",
        "--time-stamp-precision=nano", "-Z", "root", "-w", str(path),
    ]  # fmt: skip


def annotate(raw: Path, annotated: Path, events: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Write `annotated` from `raw` with comments; return packet key → frame numbers for the keys in `events`."""
    comments: dict[str, str] = {}
    for event in events:
        comments.setdefault(event["trigger"]["hash"], f"{event['rule']}: {event['reason']} [{event['verdict']}]")
    frames: dict[str, list[int]] = {}
    with raw.open("rb") as source, annotated.open("wb") as target:
        writer: pcap.PcapngWriter | None = None
        for record in pcap.read(source):
            if writer is None:
                writer = pcap.PcapngWriter(target, linktype=record.linktype)
            packet = pcap.strip_link(record.linktype, record.data)
            comment = None
            if packet is not None:
                key = packet_key(packet)
                comment = comments.get(key)
                if comment is not None:
                    frames.setdefault(key, []).append(record.frame)
            writer.write(record.timestamp, record.data, comment=comment)
        if writer is None:
            pcap.PcapngWriter(target, linktype=1)
    return frames
