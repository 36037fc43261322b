"""A whole censor in plain Python, to read and to change: Scapy reads packets, `censor` judges them, `Box` is the rest.

`cp testbed/middlebox/scapy_box.py my_box.py`, `testbed exec --policy ./my_box.py -- …` (docs/write-your-own-box.md).
"""

import json
import re
import select
import signal
import socket
import sys
import time
import traceback
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from scapy.layers.dns import DNS, DNSRR
from scapy.layers.inet import IP, TCP, UDP, Packet

from testbed import control
from testbed.middlebox import kernel, nfqueue
from testbed.middlebox.live import BoxConfig, packet_key

BLOCKED = (".twitter.com", ".facebook.com", ".youtube.com")  # each with all names below it


class Ruling(NamedTuple):
    """What becomes of a packet: which rule saw what, the packets to send, whether this one ends here."""

    rule: str
    saw: str
    inject: tuple[Packet, ...] = ()
    drop: bool = False


def censor(packet: Packet, side: str) -> Ruling | None:
    """Judge one packet that came from `side` ("inside" or "outside" of the country); None lets it pass."""
    if UDP in packet and DNS in packet and packet[DNS].qr == 0 and packet[DNS].qdcount == 1:
        name = packet[DNS].qd[0].qname.decode(errors="replace").rstrip(".")
        if ("." + name.lower()).endswith(BLOCKED):
            return Ruling("dns", name, inject=(forged_answer(packet),))
    if TCP in packet:
        data = bytes(packet[TCP].payload)
        for rule, name in (("http-host", http_host(data)), ("tls-sni", server_name(data))):
            if ("." + name.lower()).endswith(BLOCKED):
                return Ruling(rule, name, inject=(reset(packet),))
    return None


def http_host(data: bytes) -> str:
    """Return the value of a request's Host header, "" without."""
    found = re.match(rb"[A-Z]+ \S+ HTTP/1\.[01]\r\n(?:.*\r\n)*?Host:[ \t]*([^\s:]+)", data, re.IGNORECASE)
    return found[1].decode(errors="replace") if found else ""


def server_name(data: bytes) -> str:
    """Return the server name in a TLS ClientHello (RFC 8446 §4.1.2, RFC 6066 §3), "" without."""
    if data[:2] != b"\x16\x03" or data[5:6] != b"\x01":
        return ""
    at = 5 + 4 + 2 + 32  # record header, message header, version, random
    for size in (1, 2, 1):  # session id, cipher suites, compression methods, each behind its length
        at += size + int.from_bytes(data[at : at + size])
    at += 2  # the length of all extensions
    while at + 4 <= len(data):
        kind, length = int.from_bytes(data[at : at + 2]), int.from_bytes(data[at + 2 : at + 4])
        if kind == 0:  # server_name: list length, type of name, its length, the name
            return data[at + 9 : at + 4 + length].decode(errors="replace")
        at += 4 + length
    return ""


def forged_answer(query: Packet) -> Packet:
    """Answer a question as if the server had: 127.0.0.1."""
    asked, record = query[DNS], DNSRR(rrname=query[DNS].qd[0].qname, type="A", ttl=300, rdata="127.0.0.1")
    dns = DNS(id=asked.id, qr=1, rd=asked.rd, ra=1, qd=asked.qd, an=record)
    return IP(src=query.dst, dst=query.src, id=30000, ttl=128) / UDP(sport=query.dport, dport=query.sport) / dns


def reset(packet: Packet) -> Packet:
    """Tell the sender of a segment that the other side has ended the connection: the byte it waits for is an RST."""
    tcp = TCP(sport=packet.dport, dport=packet.sport, seq=packet[TCP].ack, flags="R", window=0)
    return IP(src=packet.dst, dst=packet.src, id=30000, ttl=128) / tcp


class Box:
    """The process around `censor`: the kernel's queue, a socket to send with, the control socket, the events."""

    def __init__(self, config: BoxConfig) -> None:
        self.config, self.running, self.worst_lag_s = config, True, 0.0
        self.counts = Counter(packets=0, unparsed=0, decisions=0, injected=0, dropped=0, late=0)
        self.inside = socket.if_nametoindex(config.inside_if)
        self.queue = nfqueue.Queue(kernel.QUEUE)
        self.raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.control = control.serve(Path(config.control), self.answer)
        # the kernel decides nothing alone, and IPv6 passes unseen
        kernel.Rules(config.inside_if, ipv6=False).replace(kernel.Marks(1), ())

    def run(self) -> None:
        while self.running:
            if self.control.fileno() in select.select([self.queue.fileno(), self.control.fileno()], (), (), 0.5)[0]:
                self.control.accept_ready()
            for queued in self.queue.receive():
                self.judge(queued)
            self.queue.flush()

    def judge(self, queued: nfqueue.Queued) -> None:
        raw, ruling = queued.raw, None
        try:
            ruling = censor(IP(raw), "inside" if queued.in_interface == self.inside else "outside")
            if ruling is not None:
                self.carry_out(ruling, IP(raw), packet_key(raw))
        except Exception:  # neither a strange packet nor a mistake above may end the box; the log tells
            self.counts["unparsed"] += 1
            traceback.print_exc()
        (self.queue.drop if ruling is not None and ruling.drop else self.queue.accept)(queued.id)
        self.worst_lag_s = max(self.worst_lag_s, lag_s := time.time() - (queued.arrived or time.time()))
        self.counts.update(packets=1, late=lag_s > 0.05)

    def carry_out(self, ruling: Ruling, packet: Packet, key: str) -> None:
        for forged in ruling.inject:
            self.raw.sendto(bytes(forged), (forged.dst, 0))
        self.counts.update(decisions=1, injected=len(ruling.inject), dropped=ruling.drop)
        elapsed, config = time.monotonic() - self.config.t0, self.config
        sport, dport = getattr(packet, "sport", ""), getattr(packet, "dport", "")
        flow = f"{packet.sprintf('%IP.proto%')} {packet.src}:{sport} > {packet.dst}:{dport}"
        event = {"t": elapsed, "now": config.epoch + elapsed, "box": config.node, "rule": ruling.rule, "flow": flow,
                 "reason": ", ".join(forged.summary() for forged in ruling.inject) or "dropped",
                 "evidence": {"name": ruling.saw}, "verdict": "drop" if ruling.drop else "pass",
                 "injections": len(ruling.inject), "trigger": {"hash": key}}  # fmt: skip
        with Path(config.events).open("a", encoding="utf-8") as events:
            events.write(json.dumps(event) + "\n")

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["op"] == "clock":
            self.config = replace(self.config, t0=float(request["t0"]), epoch=float(request["epoch"]))
        elif request["op"] not in ("stats", "stop"):
            raise ValueError(f"this box can't do {request['op']!r}: change the program and run it again")
        self.running = self.running and request["op"] != "stop"
        return {**self.counts, "queue_drops": self.queue.losses(), "worst_lag_s": self.worst_lag_s, "policy": __file__}


if __name__ == "__main__":
    box = Box(BoxConfig(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
    signal.signal(signal.SIGTERM, lambda number, frame: setattr(box, "running", False))
    print("ready", flush=True)
    box.run()
