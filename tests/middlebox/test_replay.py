"""The replay adapter: what it tells the engine about packets that a capture shows imperfectly."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, fragment6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.utils import rdpcap

from testbed.dpi.decision import Decision, Injection, Side
from testbed.dpi.engine import Engine
from testbed.dpi.policy import load_policy
from testbed.middlebox.replay import Judged, Replay, completed
from testbed.wire.framing import packet_offset

CLIENT, SERVER = "100.64.1.1", "198.19.3.4"
Frame = tuple[float, bytes] | tuple[float, bytes, int]


def capture(*frames: Frame) -> io.BytesIO:
    """A raw-IP pcap in nanoseconds; a third element is the length on the wire."""
    parts = [struct.pack("<IHHIIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 101)]
    for now, data, *wire in frames:
        length = wire[0] if wire else len(data)
        parts += [struct.pack("<IIII", int(now), round(now % 1 * 1e9), len(data), length), data]
    return io.BytesIO(b"".join(parts))


class Recorder:
    """Stands where the engine does and remembers what it was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, Side, float]] = []
        self.timers: list[float] = []
        self.fired: list[float] = []

    def receive(self, raw: bytes, side: Side, now: float) -> Decision:
        self.seen.append((bytes(raw), side, now))
        return Decision()

    def next_timer(self) -> float | None:
        return min(self.timers, default=None)

    def handle_timer(self, now: float) -> list[Injection]:
        self.fired.append(now)
        self.timers.remove(now)
        return [Injection(b"probe", Side.OUTSIDE)]


def told(*frames: Frame, **options: Any) -> tuple[Recorder, Replay, list[Judged]]:
    recorder = Recorder()
    recorder.timers = options.pop("timers", [])
    replay = Replay(recorder, **options)  # type: ignore[arg-type]
    return recorder, replay, list(replay.run(capture(*frames)))


def syn(src: str = CLIENT, dst: str = SERVER) -> Packet:
    return IP(src=src, dst=dst) / TCP(sport=40000, dport=443, flags="S")


@pytest.mark.parametrize(
    ("src", "side"),
    [
        (CLIENT, Side.INSIDE), ("100.127.255.255", Side.INSIDE), ("100.128.0.0", Side.OUTSIDE), (SERVER, Side.OUTSIDE),
    ],
)  # fmt: skip
def test_the_source_tells_the_side(src: str, side: Side) -> None:
    recorder, replay, _ = told((1, bytes(syn(src, SERVER))))
    assert recorder.seen == [(bytes(syn(src, SERVER)), side, 1.0)]
    assert replay.inside == (side is Side.INSIDE)


def test_inside_may_be_named_in_both_families() -> None:
    six = bytes(IPv6(src="2001:db8:9::7", dst="2001:db8::1") / UDP())
    recorder, _, _ = told((1, six), (2, bytes(syn("10.1.2.3"))), inside=["2001:db8:9::/48", "10.0.0.0/8"])
    assert [side for _, side, _ in recorder.seen] == [Side.INSIDE, Side.INSIDE]


def test_frames_without_ip_are_counted_and_keep_their_numbers() -> None:
    offence = IP(src=CLIENT, dst=SERVER) / UDP(sport=9, dport=3478) / Raw(bytes(20))
    frames = io.BytesIO(
        struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
        + b"".join(
            struct.pack("<IIII", 5, 0, len(raw), len(raw)) + raw
            for raw in (bytes(Ether() / ARP()), bytes(Ether() / offence))
        )
    )
    replay = Replay(Engine(load_policy("tm-2022"), seed=1))
    (judged,) = replay.run(frames)
    assert (judged.frame, judged.decision.notes[0].rule, judged.timestamp) == (2, "stun", 5.0)
    assert (replay.frames, replay.skipped, replay.first, replay.last) == (2, 1, 5.0, 5.0)


LONG = Raw(b"G" * 700)


@pytest.mark.parametrize("kept", [60, 61, 600])
@pytest.mark.parametrize(
    "layers",
    [
        IP(src=CLIENT, dst=SERVER) / TCP(sport=40000, dport=443, flags="PA", seq=5, ack=6) / LONG,
        IP(src=CLIENT, dst=SERVER) / UDP(sport=40000, dport=443) / LONG,
        IPv6(src="2001:db8:64::1", dst="2001:db8::1") / TCP(sport=40000, dport=443, flags="PA") / LONG,
        IPv6(src="2001:db8:64::1", dst="2001:db8::1") / IPv6ExtHdrHopByHop() / UDP(sport=40000, dport=443) / LONG,
    ],
    ids=["tcp", "udp", "tcp6", "udp6"],
)
def test_a_cut_packet_gets_its_length_and_a_right_checksum(layers: Packet, kept: int) -> None:
    whole = bytes(layers)
    recorder, replay, _ = told((1, whole[:kept], len(whole)))
    expected, offset = layers.copy(), len(whole) - 700
    expected[Raw].load = whole[offset:kept] + bytes(len(whole) - max(kept, offset))
    assert [raw for raw, _, _ in recorder.seen] == [bytes(expected)] and replay.cut == 1


def test_a_cut_fragment_or_header_is_left_alone() -> None:
    piece = bytes(IPv6() / IPv6ExtHdrFragment(offset=3, m=1) / Raw(b"x" * 40))
    assert completed(piece[:60]) == piece[:60] + bytes(28)
    assert completed(bytes(syn())[:19]) == bytes(syn())[:19]
    assert completed(b"") == b""
    assert completed(bytes(syn())) == bytes(syn())


def test_a_cut_hello_is_judged_by_what_was_captured() -> None:
    request = b"GET / HTTP/1.1\r\nHost: twitter.com\r\nCookie: " + b"c" * 900 + b"\r\n\r\n"
    offence = bytes(IP(src=CLIENT, dst=SERVER) / TCP(sport=40000, dport=80, flags="PA", seq=2, ack=9) / Raw(request))
    handshake: list[Frame] = [
        (1, bytes(IP(src=CLIENT, dst=SERVER) / TCP(sport=40000, dport=80, flags="S", seq=1))),
        (1, bytes(IP(src=SERVER, dst=CLIENT) / TCP(sport=80, dport=40000, flags="SA", seq=8, ack=2))),
        (1, bytes(IP(src=CLIENT, dst=SERVER) / TCP(sport=40000, dport=80, flags="A", seq=2, ack=9))),
    ]
    for kept, rules in ((96, ["http-host"]), (60, [])):
        replay = Replay(Engine(load_policy("tm-2022"), seed=1))
        judged = list(replay.run(capture(*handshake, (1.5, offence[:kept], len(offence)))))
        assert [(item.frame, item.cut, item.decision.notes[0].rule) for item in judged] == [(4, True, r) for r in rules]


def partial_sum(packet: Packet, six: bool) -> int:
    """What Linux leaves in a checksum field for the network card: the folded sum of the pseudo header."""
    raw = bytes(packet)
    addresses, length = (raw[8:40], len(raw) - 40) if six else (raw[12:20], len(raw) - 20)
    total: int = sum(struct.unpack(f"!{len(addresses) // 2}H", addresses)) + (raw[6] if six else raw[9]) + length
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("transport", [TCP, UDP])
def test_a_checksum_left_to_the_card_is_finished(transport: type[Packet], six: bool) -> None:
    below = IPv6(src="2001:db8:64::1", dst="2001:db8::1") if six else IP(src=CLIENT, dst=SERVER)
    layers = below / transport(sport=4, dport=5) / Raw(b"some data")
    right = bytes(layers)
    layers[transport].chksum = partial_sum(layers, six)
    wrong = below / transport(sport=4, dport=5, chksum=0x1234) / Raw(b"some data")
    recorder, replay, _ = told((1, bytes(layers)), (2, right), (3, bytes(wrong)))
    assert [raw for raw, _, _ in recorder.seen] == [right, right, bytes(wrong)]
    assert replay.mended == 1


def test_what_only_looks_unfinished_is_left_alone() -> None:
    """A later fragment has data where the checksum would be, and UDP may do without one."""
    fragment_data = IP(src=CLIENT, dst=SERVER, frag=5, proto=6) / Raw(bytes(40))
    raw = bytearray(bytes(fragment_data))
    raw[36:38] = partial_sum(fragment_data, False).to_bytes(2, "big")
    none = bytes(IP(src="100.64.0.0", dst="154.207.0.0") / UDP(sport=4, dport=5, chksum=0) / Raw(bytes(215)))
    assert (partial_sum(IP(none), False)) % 0xFFFF == 0
    recorder, replay, _ = told((1, bytes(raw)), (2, none))
    assert [seen for seen, _, _ in recorder.seen] == [bytes(raw), none] and replay.mended == 0


def test_time_never_goes_back_for_the_censor() -> None:
    raw = bytes(syn())
    recorder, replay, _ = told((5, raw), (4.5, raw), (6, raw))
    assert [now for _, _, now in recorder.seen] == [5, 5, 6]
    assert (replay.back, replay.first, replay.last) == (1, 5.0, 6.0)


def test_timers_run_between_the_packets_they_fall_between() -> None:
    raw = bytes(syn())
    recorder, _, judged = told((1, raw), (9, raw), timers=[4.0, 2.0, 20.0])
    assert recorder.fired == [2.0, 4.0]
    assert [(item.frame, item.timestamp, len(item.decision.injections)) for item in judged] == [
        (1, 2.0, 1),
        (1, 4.0, 1),
    ]


def test_a_file_that_ends_inside_a_packet_is_told() -> None:
    recorder = Recorder()
    replay = Replay(recorder)  # type: ignore[arg-type]
    assert list(replay.run(io.BytesIO(capture((1, bytes(syn())), (2, bytes(syn()))).getvalue()[:-3]))) == []
    assert (len(recorder.seen), replay.ends_early) == (1, True)


CAPTURES = sorted((Path(__file__).parents[1] / "data" / "captures").glob("*.pcap"))
CAREFUL = {
    "fragments": "first-wins", "reassembly": "first-wins", "verify_checksum": True, "verify_data_offset": False,
    "dns_over_tcp": True, "tls_join_records": True, "http_pipelined": True,
}  # fmt: skip


def damaged(chance: Random, raw: bytes) -> bytes:
    """Change a few bytes, mostly of the headers, or cut the end off."""
    changed = bytearray(raw)
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        if chance.random() < 0.2:
            del changed[chance.randrange(1, len(changed) + 1) :]
        else:
            changed[chance.randrange(min(len(changed), chance.choice((44, 80, 2000))))] = chance.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("name", sorted(path.stem for path in (Path(__file__).parents[2] / "policies").glob("*.yaml")))
def test_no_damaged_packet_stops_a_replay(name: str) -> None:
    """Packets of real programs and fragments, damaged, under every shipped policy and under a careful variant of it."""
    policy, chance = load_policy(name), Random(7)
    raws = [bytes(packet) for path in CAPTURES for packet in rdpcap(str(path), count=8).res]
    links = [packet_offset(1, raw) or 0 for raw in raws]
    packets = [raw[start:] for raw, start in zip(raws, links, strict=True)]
    long = UDP(sport=5, dport=53) / Raw(bytes(3000))
    packets += [bytes(piece) for piece in fragment(IP(src=CLIENT, dst=SERVER) / long)]
    packets += [bytes(piece) for piece in fragment6(IPv6(src="2001:db8:64::1") / IPv6ExtHdrFragment(id=3) / long, 1280)]
    for parser in (policy.parser, policy.parser.model_copy(update=CAREFUL)):
        replay = Replay(Engine(policy.model_copy(update={"parser": parser}), seed=1))
        frames = [(now / 50, damaged(chance, chance.choice(packets))) for now in range(1000)]
        cut = [(now, raw, len(raw) + 9 * (chance.random() < 0.1)) for now, raw in frames]
        for judged in replay.run(capture(*cut)):
            json.dumps([note.as_json() for note in judged.decision.notes])
        assert replay.frames == 1000


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kept", [None, 900])
def test_a_length_that_the_card_was_to_write(version: int, kept: int | None) -> None:
    """Large send offload on Windows, BIG TCP on Linux: the header says 0."""
    network = IP(src=CLIENT, dst=SERVER) if version == 4 else IPv6(src="2001:db8:64::1", dst="2001:db8:1::1")
    whole = bytes(network / TCP(sport=40000, dport=443, flags="PA") / Raw(Random(1).randbytes(3000)))
    at = 2 if version == 4 else 4
    unwritten = whole[:at] + b"\0\0" + whole[at + 2 :]
    if version == 4:
        unwritten = unwritten[:10] + b"\0\0" + unwritten[12:]
    checksum = (20 if version == 4 else 40) + 16
    unwritten = unwritten[:checksum] + b"\x12\x34" + unwritten[checksum + 2 :]
    recorder, replay, _ = told((1, unwritten[:kept], len(whole)))
    raw = recorder.seen[0][0]
    assert len(raw) == len(whole) and replay.mended == 1
    if kept is None:
        assert raw == whole
    else:
        assert raw[:checksum] == whole[:checksum] and raw[checksum + 2 : kept] == whole[checksum + 2 : kept]


def test_what_has_no_length_and_is_no_large_segment_stays() -> None:
    datagram = bytes(IP(src=CLIENT, dst=SERVER, len=0) / UDP() / Raw(b"x" * 40))
    short = bytes(IP(src=CLIENT, dst=SERVER, len=0) / Raw(b"x" * 6))
    empty = bytes(IPv6(src="2001:db8:64::1", dst="2001:db8:1::1", nh=59))
    recorder, replay, _ = told((1, datagram), (2, short), (3, empty))
    assert [raw for raw, _, _ in recorder.seen] == [datagram, short, empty] and not replay.mended
