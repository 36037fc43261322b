"""Round trips: tshark's reading of real captures, and packet by packet what may not be counted."""

from __future__ import annotations

import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from testbed.link.fidelity import Departure
from testbed.link.roundtrips import RoundTrip, crossed, measured
from testbed.wire import pcap

DATA = Path(__file__).parent.parent / "data"
LOSSY = DATA / "roundtrips" / "lossy.pcap"
HERE, THERE = "100.64.1.2", "198.18.0.2"
FLOW = f"tcp {HERE}:40000 > {THERE}:443"


def near(address: bytes) -> bool:
    return address[0] == 100 or address[:5] == b"\x20\x01\x0d\xb8\x00"


def of(path: Path) -> Iterator[tuple[float, memoryview]]:
    with path.open("rb") as source:
        for record in pcap.read(source):
            packet = pcap.strip_link(record.linktype, record.data)
            if packet is not None:
                yield record.timestamp, packet


def tshark(path: Path, *fields: str) -> list[tuple[int, list[float]]]:
    """Return of each frame that goes inward its number, then its time and the fields, NaN for one that it lacks."""
    wanted = ["frame.number", "frame.time_epoch", *fields]
    argv = ["tshark", "-r", str(path), "-Y", "ip.dst == 100.64.0.0/10", "-T", "fields", "-E", "separator=,"]
    argv += [part for name in wanted for part in ("-e", name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    rows = [line.split(",") for line in done.stdout.splitlines()]
    return [(int(row[0]), [float(value or "nan") for value in row[1:]]) for row in rows]


def agrees(found: list[RoundTrip], read: list[tuple[float, float]]) -> bool:
    return len(found) == len(read) and all(
        (trip.t, trip.rtt_s) == pytest.approx(row, rel=0, abs=2e-6) for trip, row in zip(found, read, strict=True)
    )


@pytest.mark.parametrize("name", ["trojan", "ssh", "openvpn-late-aead-tcp"])
def test_tcp_is_timed_as_tshark_does(name: str) -> None:
    path = DATA / "captures" / f"{name}.pcap"
    read = [(when, rtt) for _, (when, rtt) in tshark(path, "tcp.analysis.ack_rtt") if rtt >= 0]
    assert read
    assert agrees([trip for trip in measured(of(path), near) if trip.kind != "timestamp"], read)


def test_with_losses_it_is_tsharks_without_the_one_that_answers_a_segment_sent_twice() -> None:
    trips = list(measured(of(LOSSY), near))
    assert Counter(trip.kind for trip in trips) == {"syn": 9, "data": 46, "dns": 6, "timestamp": 4}
    rows = tshark(LOSSY, "tcp.analysis.ack_rtt", "dns.time")
    # frame 305 is repeated in frame 370; tshark takes the ACK in frame 376 for an answer to the first of them
    acks = [(when, rtt) for number, (when, rtt, _) in rows if rtt >= 0 and number != 376]
    assert agrees([trip for trip in trips if trip.kind in ("syn", "data")], acks)
    names = [(when, rtt) for _, (when, _, rtt) in rows if rtt >= 0]
    assert agrees([trip for trip in trips if trip.kind == "dns"], names)


def test_timestamps_tell_of_the_queue_that_a_download_fills() -> None:
    # The idle link takes 40 ms; no echo can be quicker, and the longest ACKs of the time waited no longer.
    trips = list(measured(of(LOSSY), near))
    longest = max(trip.rtt_s for trip in trips if trip.kind == "data")
    assert all(0.040 < trip.rtt_s < longest for trip in trips if trip.kind == "timestamp")


def test_quics_first_answer() -> None:
    (trip,) = measured(of(DATA / "captures" / "quic.pcap"), near)
    assert trip.kind == "quic"
    number, (when, since) = tshark(DATA / "captures" / "quic.pcap", "frame.time_delta")[0]
    assert number == 2
    assert agrees([trip], [(when, since)])


# packet by packet


def raw(packet: Packet) -> memoryview:
    return memoryview(bytes(packet))


def tcp_out(seq: int, size: int = 0, flags: str = "A", stamp: int | None = None) -> memoryview:
    options = [] if stamp is None else [("Timestamp", (stamp, 0))]
    return raw(
        IP(src=HERE, dst=THERE) / TCP(sport=40000, dport=443, seq=seq, flags=flags, options=options) / bytes(size)
    )


def tcp_in(ack: int, flags: str = "A", size: int = 0, echo: int | None = None) -> memoryview:
    options = [] if echo is None else [("Timestamp", (9, echo))]
    return raw(
        IP(src=THERE, dst=HERE) / TCP(sport=443, dport=40000, ack=ack, flags=flags, options=options) / bytes(size)
    )


def udp(payload: Packet | bytes, *, out: bool, port: int = 53) -> memoryview:
    ends = (HERE, THERE) if out else (THERE, HERE)
    ports = (5000, port) if out else (port, 5000)
    return raw(IP(src=ends[0], dst=ends[1]) / UDP(sport=ports[0], dport=ports[1]) / payload)


def trips(*packets: tuple[float, memoryview]) -> list[tuple[float, str]]:
    return [(round(trip.rtt_s, 6), trip.kind) for trip in measured(packets, near)]


def test_an_ack_answers_the_newest_segment_that_it_covers() -> None:
    sent = [(0.0, tcp_out(99, flags="S")), (0.2, tcp_in(100, "SA")), (1.0, tcp_out(100, 10)), (1.1, tcp_out(110, 10))]
    assert trips(*sent, (1.5, tcp_in(120))) == [(0.2, "syn"), (0.4, "data")]
    assert trips(*sent, (1.5, tcp_in(115))) == [(0.2, "syn"), (0.5, "data")]


def test_numbers_wrap_around() -> None:
    top = (1 << 32) - 5
    assert trips((0.0, tcp_out(top, 10)), (0.3, tcp_in(5))) == [(0.3, "data")]
    assert trips((0.0, tcp_out(5, 10)), (0.3, tcp_in(top))) == []


@pytest.mark.parametrize(
    "again",
    [tcp_out(100, 10), tcp_out(100, 20), tcp_out(105, 5), tcp_out(100, 5)],
    ids=["whole", "with more", "its end", "its beginning"],
)
def test_what_was_sent_twice_has_no_time_and_what_follows_has(again: memoryview) -> None:
    sent = [(0.0, tcp_out(100, 10)), (1.0, again), (1.2, tcp_in(120))]
    assert trips(*sent) == []
    assert trips(*sent, (2.0, tcp_out(120, 10)), (2.2, tcp_in(130))) == [(0.2, "data")]


def test_an_ack_that_covers_a_repeated_segment_and_a_fresh_one_is_no_answer_to_the_fresh_one() -> None:
    # the receiver may have had the fresh one for long, and only waited for the hole before it
    sent = [(0.0, tcp_out(100, 10)), (0.1, tcp_out(110, 10)), (1.0, tcp_out(100, 10))]
    assert trips(*sent, (1.2, tcp_in(120))) == []


def test_a_syn_sent_twice_has_no_time_but_a_new_connection_of_the_same_ports_has() -> None:
    again = [(0.0, tcp_out(99, flags="S")), (1.0, tcp_out(99, flags="S")), (1.2, tcp_in(100, "SA"))]
    assert trips(*again) == []
    assert trips(*again, (5.0, tcp_out(7, flags="S")), (5.2, tcp_in(8, "SA"))) == [(0.2, "syn")]


def test_an_rst_is_no_answer() -> None:
    assert trips((0.0, tcp_out(100, 10)), (0.01, tcp_in(110, "RA"))) == []


@pytest.mark.parametrize(
    ("heard", "counts"),
    [((0.48,), True), ((0.1, 0.3, 0.45), True), ((0.1,), False), ((), False)],
    ids=["it had sent 20 ms before", "and all along", "it sent nothing for most of it", "nothing at all"],
)
def test_an_echo_counts_if_the_other_side_can_not_have_waited_long(heard: tuple[float, ...], counts: bool) -> None:
    before = [(when, tcp_in(100, size=1000, echo=6)) for when in heard]
    got = trips((0.0, tcp_out(100, stamp=7)), *before, (0.5, tcp_in(100, size=1000, echo=7)))
    assert got == ([(0.5, "timestamp")] if counts else [])


def test_an_echo_of_a_later_ack_is_none_of_the_timed_one() -> None:
    sent = [(0.0, tcp_out(100, stamp=7)), (0.1, tcp_out(100, stamp=8)), (0.45, tcp_in(100, size=9, echo=6))]
    assert trips(*sent, (0.5, tcp_in(100, size=9, echo=8))) == []


def test_a_name_asked_again_has_no_time_nor_has_a_second_answer() -> None:
    def question(number: int) -> DNS:
        return DNS(id=number, rd=1, qd=DNSQR(qname="Some.Example"))

    def answer(number: int) -> DNS:
        return DNS(id=number, qr=1, qd=DNSQR(qname="some.example"))

    once = [(0.0, udp(question(1), out=True)), (0.2, udp(answer(1), out=False)), (0.3, udp(answer(1), out=False))]
    assert trips(*once) == [(0.2, "dns")]
    again = [(1.0, udp(question(2), out=True)), (2.0, udp(question(2), out=True)), (2.2, udp(answer(2), out=False))]
    assert trips(*again) == []
    assert trips((0.0, udp(question(3), out=True)), (0.1, udp(answer(4), out=False))) == []


def long_header(size: int = 60) -> bytes:
    return b"\xc0" + struct.pack(">I", 1) + bytes(size)


@pytest.mark.parametrize(("second", "counts"), [(0.001, True), (1.0, False)], ids=["one hello in two", "repeated"])
def test_an_initial_that_was_repeated_has_no_time(second: float, counts: bool) -> None:
    sent = [(0.0, udp(long_header(), out=True, port=443)), (second, udp(long_header(), out=True, port=443))]
    got = trips(*sent, (1.2, udp(long_header(), out=False, port=443)), (1.3, udp(long_header(), out=False, port=443)))
    assert got == ([(1.2, "quic")] if counts else [])


def test_flows_are_written_as_decisions_are_and_ipv6_is_read() -> None:
    (trip,) = measured([(0.0, tcp_out(100, 10)), (0.3, tcp_in(110))], near)
    assert trip == (0.3, 0.3, FLOW, "data")
    ends = ("2001:db8:64::1", "2001:db8:18::2")
    ask = IPv6(src=ends[0], dst=ends[1]) / TCP(sport=1, dport=2, seq=5, flags="S")
    told = IPv6(src=ends[1], dst=ends[0]) / TCP(sport=2, dport=1, ack=6, flags="SA")
    six = measured([(0.0, raw(ask)), (0.3, raw(told))], lambda address: address[5] == 0x64)
    assert [trip.flow for trip in six] == ["tcp 2001:db8:64::1:1 > 2001:db8:18::2:2"]


def test_only_what_goes_from_the_near_side_to_the_far_one_is_timed() -> None:
    inside = IP(src=HERE, dst="100.64.0.53") / TCP(sport=1, dport=2, seq=5, flags="S")
    answer = IP(src="100.64.0.53", dst=HERE) / TCP(sport=2, dport=1, ack=6, flags="SA")
    assert trips((0.0, raw(inside)), (0.3, raw(answer))) == []
    assert trips((0.0, tcp_in(5, "S", size=3)), (0.3, tcp_out(0, flags="A"))) == []


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([6, 17]), st.binary(max_size=120)), max_size=8))
def test_hostile_packets_raise_nothing(drawn: list[tuple[bool, int, bytes]]) -> None:
    packets = []
    for number, (out, proto, body) in enumerate(drawn):
        ends = (HERE, THERE) if out else (THERE, HERE)
        packets.append((float(number), raw(IP(src=ends[0], dst=ends[1], proto=proto) / Raw(body))))
    for trip in measured(packets, near):
        assert trip.rtt_s >= 0


def test_what_is_remembered_is_bounded() -> None:
    outward, inward = bytes(tcp_out(99, flags="S")), bytes(tcp_in(100, "SA"))

    def syn(number: int, *, out: bool) -> memoryview:
        whole, at = (outward, 20) if out else (inward, 22)
        return memoryview(whole[:at] + struct.pack(">H", number) + whole[at + 2 :])

    asked = [(number * 1e-3, syn(number, out=True)) for number in range(1, 4098)]
    assert trips(*asked, (9.0, syn(1, out=False))) == []  # let go for the newest
    assert len(trips(*asked, (9.0, syn(2, out=False)))) == 1


def test_a_links_log_gives_up_and_down_of_each_half_second() -> None:
    def left(direction: int, at: float, took: float) -> Departure:
        return Departure(direction, 100, at - took, at, at)

    log = [left(0, 0.1, 0.05), left(0, 0.2, 0.07), left(0, 0.3, 0.09), left(1, 0.3, 0.2), left(0, 0.7, 0.1)]
    assert [tuple(trip) for trip in crossed(log)] == [(0.25, pytest.approx(0.27), "", "link")]
