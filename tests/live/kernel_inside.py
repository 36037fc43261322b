"""The part of `test_kernel` that runs inside the sandbox: `python -m tests.live.kernel_inside FOLDER`.

Does every experiment on one line of three nodes and prints what it saw as one JSON object; the test judges.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from testbed.dpi.decision import Side, Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import load_policy
from tests.live.bulk_inside import bulk
from tests.live.crossings import CROSSINGS, POLICY, Crossing
from tests.live.line import CLIENT, SERVER, SERVER6, Line

_CLONE_NEWNET = 0x40000000
_ETHER = {4: 0x0800, 6: 0x86DD}
_FLOOD_PORT, _PER_SECOND, _FLOWS, _RELOADS = 9, 2000, 500, 20
_SELF = [sys.executable, "-m", "tests.live.kernel_inside"]


class Wire:
    """Raw packets onto the cables from either end, and what comes out of the other end."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._ends: dict[Side, tuple[socket.socket, str, bytes]] = {}
        for side, node, port in ((Side.INSIDE, "client", "gw-in"), (Side.OUTSIDE, "server", "gw-out")):
            path = f"/sys/class/net/{port}/address"
            gateway = bytes.fromhex(line.fabric.run("gw", ["cat", path]).stdout.strip().replace(":", ""))
            with InNetOf(line.fabric.pid(node)):
                packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
                packets.bind((f"{node}-eth0", 3))
            packets.settimeout(0.01)
            self._ends[side] = packets, f"{node}-eth0", gateway

    def send(self, raw: bytes, side: Side) -> None:
        """Send an IP packet from one end toward the box."""
        packets, interface, gateway = self._ends[side]
        packets.sendto(raw, (interface, _ETHER[raw[0] >> 4], 0, 0, gateway))

    def arrivals(self, side: Side) -> list[bytes]:
        """Return what reached an end since the last call, own packets left out."""
        found: list[bytes] = []
        while True:
            try:
                data, address = self._ends[side][0].recvfrom(4096)
            except TimeoutError:
                return found
            if address[2] != socket.PACKET_OUTGOING:
                found.append(data)

    def cross(self, crossings: Sequence[Crossing]) -> list[bool]:
        """Send packets one after the other; say of each whether it came out."""
        for side in Side:
            self.arrivals(side)  # what a flood before left in the buffers
        came = dict.fromkeys(Side, b"")
        for crossing in crossings:
            self.send(crossing.raw, crossing.side)
            time.sleep(0.002)
            came[crossing.side.other] += b"".join(self.arrivals(crossing.side.other))
        time.sleep(0.3)
        for side in came:
            came[side] += b"".join(self.arrivals(side))
        return [crossing.token in came[crossing.side.other] for crossing in crossings]


class InNetOf:
    """A context manager: sockets made inside it are of a node's network."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __enter__(self) -> None:
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY)
        _set_net(os.open(f"/proc/{self._pid}/ns/net", os.O_RDONLY))

    def __exit__(self, *_: object) -> None:
        _set_net(self._own)


def _set_net(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(descriptor)


def judged_offline(path: Path) -> list[bool]:
    """Return of each crossing whether the engine alone lets it pass."""
    engine = Engine(load_policy(path), seed=1)
    now, came = 1e9, []
    for crossing in CROSSINGS:
        now += 0.01
        came.append(engine.receive(crossing.raw, crossing.side, now).verdict is not Verdict.DROP)
    return came


def agreement(line: Line, wire: Wire, folder: Path) -> dict[str, Any]:
    """Send the same packets past the kernel's rules, past the engine alone, and through the engine offline."""
    path = folder / "crossings.yaml"
    path.write_text(POLICY)
    box = line.box(path, "kernel")
    with_kernel, stats = wire.cross(CROSSINGS), box.ask(op="stats")
    events = box.end()
    box = line.box(path, "engine", kernel_rules=False)
    without, engine_stats = wire.cross(CROSSINGS), box.ask(op="stats")
    box.end()
    return {
        "kernel": with_kernel, "engine": without, "offline": judged_offline(path), "stats": stats, "events": events,
        "engine_stats": engine_stats,
    }  # fmt: skip


def reloading(line: Line, folder: Path) -> dict[str, Any]:
    """Change the policy again and again while numbered datagrams flow."""
    box = line.box("tm-2022", "reload")
    receiver = line.start("server", [*_SELF, "receive"])
    sender = line.start("client", [*_SELF, "send"])
    box.ask(op="policy", policy="open")
    deadline = time.monotonic() + 20
    while not box.ask(op="stats")["kernel"]["passed"] and time.monotonic() < deadline:
        time.sleep(0.05)  # until a flow was decided and sent another datagram; the test says whether it was
    for number in range(1, _RELOADS):
        box.ask(op="policy", policy=("open", "tm-2022")[number % 2])
        time.sleep(0.1)
    sender.send_signal(signal.SIGTERM)
    assert sender.stdout is not None and receiver.stdout is not None
    sent = int(sender.stdout.readline())
    received = json.loads(receiver.stdout.readline())
    stats = box.ask(op="stats")
    policies = [event["reason"] for event in box.end() if event["rule"] == "policy"]
    return {"sent": sent, **received, "stats": stats, "policies": policies}


def send() -> None:
    """Send numbered datagrams of many flows, so that most stay undecided, until told to stop; print how many."""
    running = True

    def stop(number: int, frame: object) -> None:
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, stop)
    peers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(_FLOWS)]
    for peer in peers:
        peer.connect((SERVER, _FLOOD_PORT))
    print("ready", flush=True)
    sent, begun = 0, time.monotonic()
    while running:
        while sent < (time.monotonic() - begun) * _PER_SECOND:
            peers[sent % _FLOWS].send(b"%d" % sent)
            sent += 1
        time.sleep(0.001)
    time.sleep(0.5)
    peers[0].send(b"end")
    print(sent, flush=True)


def receive() -> None:
    """Take numbered datagrams; at the end print how many came, and how many different ones."""
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    own.bind(("", _FLOOD_PORT))
    print("ready", flush=True)
    seen: list[bytes] = []
    while (data := own.recv(2048)) != b"end":
        seen.append(data)
    print(json.dumps({"count": len(seen), "distinct": len(set(seen))}), flush=True)


def decided(line: Line, wire: Wire, folder: Path) -> dict[str, Any]:
    """Let one flow pass and one be dropped for good; watch who decides their further packets."""
    from scapy.all import IP, TCP, IPv6, Raw

    path = folder / "decided.yaml"
    path.write_text(
        "policy: decided\ntitle: t\nplacement: in-path\nparser: {packets_inspected: 4}\nrules:\n"
        "  - {name: host, match: {http_host: {patterns: [=blocked.example]}}, action: {drop: flow},\n"
        "     evidence: {mark: U, source: test}}\n"
    )
    found: dict[str, Any] = {}
    box = line.box(path, "decided")
    for version, layer, there in ((4, IP, SERVER), (6, IPv6, SERVER6)):
        for kind, host in (("passed", b"open.example"), ("dropped", b"blocked.example")):
            here = CLIENT if version == 4 else "2001:db8:64::2"
            port = 40000 + version * 10 + (kind == "passed")
            out = layer(src=here, dst=there) / TCP(sport=port, dport=80, flags="A", seq=2, ack=2)
            back = layer(src=there, dst=here) / TCP(sport=80, dport=port, flags="A", seq=2, ack=2)
            syn = layer(src=here, dst=there) / TCP(sport=port, dport=80, flags="S", seq=1)
            wire.send(bytes(syn), Side.INSIDE)
            answer = layer(src=there, dst=here) / TCP(sport=80, dport=port, flags="SA", seq=1, ack=2)
            wire.send(bytes(answer), Side.OUTSIDE)
            for number in range(6):
                data = b"GET /%d HTTP/1.1\r\nHost: %s\r\n\r\n" % (number, host)
                wire.send(bytes(out / Raw(data)), Side.INSIDE)
                time.sleep(0.005)
            wire.arrivals(Side.OUTSIDE), wire.arrivals(Side.INSIDE)
            before = box.ask(op="stats")
            for number in range(50):
                wire.send(bytes(out / Raw(b"token %d" % number)), Side.INSIDE)
                wire.send(bytes(back / Raw(b"token %d" % number)), Side.OUTSIDE)
            time.sleep(0.1)
            after = box.ask(op="stats")
            wire.send(bytes(syn), Side.INSIDE)
            time.sleep(0.05)
            again = box.ask(op="stats")
            arrived = sum(b"token" in data for side in Side for data in wire.arrivals(side))
            found[f"{kind}{version}"] = {
                "arrived": arrived, "engine": after["packets"] - before["packets"],
                "kernel": after["kernel"][kind] - before["kernel"][kind],
                "engine_for_syn": again["packets"] - after["packets"],
            }  # fmt: skip
    box.end()
    return found


def fragments(line: Line, wire: Wire) -> dict[str, Any]:
    """Send one datagram in three fragments, before and after its flow is passed; count what the engine sees."""
    from scapy.all import IP, UDP, Raw, fragment

    with InNetOf(line.fabric.pid("server")):
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # so that no ICMP error comes back
        listener.bind(("", 9000))
    box = line.box("open", "fragments")
    datagram = IP(src=CLIENT, dst=SERVER, id=77) / UDP(sport=41000, dport=9000) / Raw(b"x" * 1200)
    whole = IP(src=CLIENT, dst=SERVER) / UDP(sport=41000, dport=9000) / Raw(b"y")
    for _ in range(3):
        wire.send(bytes(whole), Side.INSIDE)
        time.sleep(0.01)
    before = box.ask(op="stats")
    wire.arrivals(Side.OUTSIDE)
    for piece in fragment(datagram, 400):
        wire.send(bytes(piece), Side.INSIDE)
    time.sleep(0.05)
    after = box.ask(op="stats")
    arrived = sum(data[0] == 0x45 and bool(data[6] & 0x3F or data[7]) for data in wire.arrivals(Side.OUTSIDE))
    box.end()
    listener.close()
    seen = after["packets"] - before["packets"]
    return {"engine": seen, "arrived": arrived, "passed": before["kernel"]["passed"]}


def overload(line: Line) -> dict[str, Any]:
    """Stop the box while a flood goes on, longer than its queue is; then let it see what it missed."""
    box = line.box("tm-2022", "overload")
    calm = box.ask(op="stats")
    flood = "import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.connect((%r,9))\n"
    flood += "for _ in range(30000): s.send(b'flood')\nprint('ready',flush=True)"
    box.signal(signal.SIGSTOP)
    line.start("client", [sys.executable, "-c", flood % SERVER])
    time.sleep(0.2)
    box.signal(signal.SIGCONT)
    time.sleep(0.5)
    stats = box.ask(op="stats")
    box.end()
    return {"calm": calm, "stats": stats}


def experiments(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Do everything on one line."""
    with Line(folder) as line:
        for node in ("client", "server"):
            for program in ("iptables", "ip6tables"):  # crossing packets are seen on the cable and answered by nobody
                line.fabric.run(node, [program, "-A", "INPUT", "-p", "tcp", "-j", "DROP"])
        for address in (SERVER, SERVER6):
            line.fabric.run("client", ["ping", "-c", "1", "-w", "5", address])
        wire = Wire(line)
        yield "decided", decided(line, wire, folder)
        yield "bulk", bulk(line, wire, folder)
        yield "fragments", fragments(line, wire)
        yield "reloading", reloading(line, folder)
        yield "overload", overload(line)
        for node in ("client", "server"):
            for program in ("iptables", "ip6tables"):
                line.fabric.run(node, [program, "-A", "INPUT", "-p", "udp", "-j", "DROP"])
        yield "agreement", agreement(line, wire, folder)


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send()
    elif sys.argv[1] == "receive":
        receive()
    else:
        print(json.dumps(dict(experiments(Path(sys.argv[1])))))
