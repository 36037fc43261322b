"""QUIC's Initials against the RFCs' vectors, aioquic, captured browsers, tshark, and hostile senders."""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from testbed.wire import ja, quic, quic_crypto, quic_packet
from testbed.wire.quic import PADDING, PING, VERSION_1, VERSION_2, InitialCollector, QuicKnobs
from testbed.wire.quic_packet import DRAFT_29, Kind
from tests.wire import hellos, quic_flows

NAME = "www.example.com"
MESSAGE = hellos.captured("chrome131")[5:]
SMALL = hellos.message([(0, hellos.names((0, b"a.example"))), (16, b"\0\3\2h3")])
OTHER = hellos.message([(0, hellos.names((0, b"decoy.example")))])
CHINA = QuicKnobs(
    versions=frozenset({VERSION_1}), join="packet", gives_up_before_crypto=frozenset({PADDING, PING})
)  # fmt: skip

# RFC 9001 appendix A.2 and RFC 9369 appendix A.2 protect the same payload.
RFC_PAYLOAD = bytes.fromhex(
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302010000c0"
    "00000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c706e0005000501"
    "00000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304"
    "000d0010000e0403050306030203080408050806002d00020101001c00024001003900320408ffffffffffffffff05048000ffff07"
    "048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff"
)
RFC_SERVER_PAYLOAD = bytes.fromhex(
    "02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf73988cfc79825df566dc5430b9a045a12001301000"
    "02e00330024001d00209d3c940d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00020304"
)


def names(knobs: QuicKnobs, *datagrams: bytes) -> list[str | None]:
    """Return the names of the hellos that a collector finds in a client's datagrams."""
    collector = InitialCollector(knobs)
    return [hello.sni for hello in map(collector.feed, datagrams) if hello]


def only_packet(datagram: bytes) -> quic_packet.Packet:
    """Return the single packet of a datagram."""
    [packet] = quic_packet.packets(datagram)
    return packet


@pytest.mark.parametrize(
    ("version", "beginning", "tag"),
    [
        (
            VERSION_1, "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9bd8bab936b47d",
            "e221af44860018ab0856972e194cd934",
        ),
        (
            VERSION_2, "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04de806071bf03dceebfa1",
            "a18b2faa745b6fe189cf772a9f84cbfc",
        ),
    ],
)  # fmt: skip
def test_the_client_initials_of_the_rfcs(version: int, beginning: str, tag: str) -> None:
    # The packet is 1,200 bytes; its first bytes and its tag, which covers all others, are compared with the RFC's text.
    datagram = quic_flows.initial(RFC_PAYLOAD, version=version, packet_number=2, least=1162)
    assert (datagram[:44].hex(), datagram[-16:].hex(), len(datagram)) == (beginning, tag, 1200)
    keys = quic_crypto.initial_keys(version, quic_flows.DCID, from_client=True)
    assert keys.open(datagram, only_packet(datagram)) == (2, RFC_PAYLOAD + bytes(917))
    collector = InitialCollector()
    hello = collector.feed(datagram)
    assert hello is not None and (hello.sni, hello.alpn) == ("example.com", ("alpn",))
    assert (collector.hello, collector.version, collector.frames_before_crypto) == (hello, version, ())


@pytest.mark.parametrize(
    ("version", "protected"),
    [
        (
            VERSION_1,
            "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5a99f5e"
            "de4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d"
            "06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee",
        ),
        (
            VERSION_2,
            "dc6b3343cf0008f067a5502a4262b5004075d92faaf16f05d8a4398c47089698baeea26b91eb761d9b89237bbf8726301791535823"
            "0035f7fd3945d88965cf17f9af6e16886c61bfc703106fbaf3cb4cfa52382dd16a393e42757507698075b2c984c707f0a0812d8cd5"
            "a6881eaf21ceda98f4bd23f6fe1a3e2c43edd9ce7ca84bed8521e2e140",
        ),
    ],
)
def test_the_server_initials_of_the_rfcs(version: int, protected: str) -> None:
    datagram = bytes.fromhex(protected)
    keys = quic_crypto.initial_keys(version, quic_flows.DCID, from_client=False)
    assert keys.open(datagram, only_packet(datagram)) == (1, RFC_SERVER_PAYLOAD)
    collector = InitialCollector()
    collector.feed(quic_flows.initial(RFC_PAYLOAD, version=version, packet_number=2))
    assert collector.feed(datagram, from_client=False) is None and collector.error is None
    assert collector.server_hello is not None
    assert (collector.server_hello.version, collector.server_hello.cipher) == (0x304, 0x1301)


def test_the_server_initial_of_draft_29() -> None:
    # draft-ietf-quic-tls-29 appendix A.3, whose payload still has frame types of earlier drafts
    datagram = bytes.fromhex(
        "caff00001d0008f067a5502a4262b5004074aaf2f007823a5d3a1207c86ee49132824f0465243d082d868b107a38092bc80528664cbf94"
        "56ebf27673fb5fa5061ab573c9f001b81da028a00d52ab00b15bebaa70640e106cf2acd043e9c6b4411c0a79637134d8993701fe779e58"
        "c2fe753d14b0564021565ea92e57bc6faf56dfc7a40870e6"
    )
    keys = quic_crypto.initial_keys(DRAFT_29, quic_flows.DCID, from_client=False)
    opened, payload = keys.open(datagram, only_packet(datagram))
    assert opened == 1 and payload.startswith(bytes.fromhex("0d0000000018410a020000560303eefce7f7b37ba1"))


@pytest.mark.parametrize(
    ("version", "protected"),
    [
        (VERSION_1, "ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba"),
        (VERSION_2, "cf6b3343cf0008f067a5502a4262b5746f6b656ec8646ce8bfe33952d955543665dcc7b6"),
        (DRAFT_29, "ffff00001d0008f067a5502a4262b5746f6b656ed16926d81f6f9ca2953a8aa4575e1e49"),
    ],
)
def test_the_retries_of_the_rfcs(version: int, protected: str) -> None:
    datagram = bytes.fromhex(protected)
    packet = only_packet(datagram)
    assert (packet.kind, packet.version, packet.token, packet.dcid) == (Kind.RETRY, version, b"token", b"")
    assert packet.scid == bytes.fromhex("f067a5502a4262b5")
    assert quic_crypto.retry_is_genuine(datagram, packet, quic_flows.DCID)
    assert not quic_crypto.retry_is_genuine(datagram, packet, b"another")


@pytest.mark.parametrize(
    ("truncated", "size", "largest", "whole"),
    [(0x9B32, 2, 0xA82F30EA, 0xA82F9B32), (0, 1, -1, 0), (0, 1, 255, 256), (255, 1, 256, 255), (7, 4, -1, 7)],
)
def test_packet_numbers_are_completed(truncated: int, size: int, largest: int, whole: int) -> None:
    assert quic_crypto.whole_number(truncated, size, largest) == whole  # the first is RFC 9000 appendix A.3


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("c2197c5eff14e88c", 151288809941952652), ("9d7f3e7d", 494878333), ("7bbd", 15293), ("25", 37), ("4025", 37),
    ],
)  # fmt: skip
def test_integers_of_rfc_9000(written: str, value: int) -> None:
    data = bytes.fromhex(written)
    assert quic_packet.varint(data, 0, len(data)) == (value, len(data))
    with pytest.raises(ValueError, match="cut short"):
        quic_packet.varint(data, 0, len(data) - 1)


@pytest.mark.parametrize(
    ("flow", "made_whole_by", "retried"),
    [
        ("chrome152", [1], False),
        ("safari270", [0], False),
        ("firefox155", [1], False),
        ("chrome152-retry", [1, 5], True),
    ],
)
def test_browsers_are_read(flow: str, made_whole_by: list[int], retried: bool) -> None:
    collector = InitialCollector()
    seen = [collector.feed(data, from_client=client) for client, data in quic_flows.captured(flow)]
    assert [place for place, hello in enumerate(seen) if hello] == made_whole_by
    assert {hello.sni for hello in collector.hellos} == {NAME}
    assert {hello.alpn for hello in collector.hellos} == {("h3",)}
    assert (collector.retried, collector.version, collector.error) == (retried, VERSION_1, None)
    if flow != "firefox155":  # to which the server said no
        assert collector.server_hello is not None and collector.server_hello.version == 0x304


def test_safari_has_its_published_ja4_over_quic() -> None:
    # seen from iOS 27 handsets and Safari 26.6 at browserleaks
    hello = quic.client_hello(quic_flows.captured("safari270")[0][1])
    assert hello is not None and ja.ja4(hello, "q") == "q13d0311h3_55b375c5d22e_f2a83c8e78ae"


def test_tshark_reads_the_same(tmp_path: Path) -> None:
    flows = [quic_flows.captured(name) for name in ("chrome152", "safari270", "firefox155")]
    flows += [
        [(True, data) for data in quic_flows.from_aioquic(NAME, versions=[version], alpn=["h3"])]
        for version in (VERSION_1, VERSION_2)
    ]
    ports = [(50000 + place, client, data) for place, flow in enumerate(flows) for client, data in flow]
    link = [
        Ether() / IP() / (UDP(sport=port, dport=443) if client else UDP(sport=443, dport=port)) / data
        for port, client, data in ports
    ]
    wrpcap(str(tmp_path / "flows.pcap"), link)
    fields = ("extensions_server_name", "ja3", "extensions_alpn_str")
    shown = subprocess.run(
        ["tshark", "-r", str(tmp_path / "flows.pcap"), "-Y", "tls.handshake.type==1", "-T", "fields",
         "-e", "udp.srcport", *(word for field in fields for word in ("-e", f"tls.handshake.{field}"))],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    seen = {line.split("\t")[0]: line.split("\t")[1:] for line in shown}
    for place, flow in enumerate(flows):
        collector = InitialCollector()
        for client, data in flow:
            collector.feed(data, from_client=client)
        hello = collector.hello
        assert hello is not None
        assert seen[str(50000 + place)] == [hello.sni, ja.ja3(hello), ",".join(hello.alpn)]


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2])
def test_aioquic_with_a_hello_over_two_datagrams(version: int) -> None:
    alpn = ["h3", *(f"protocol-{n}-{'x' * 60}" for n in range(20))]
    flight = quic_flows.from_aioquic(NAME, versions=[version], alpn=alpn)
    assert len(flight) == 2
    for order in (flight, flight[::-1], [*flight, *flight], [flight[0], flight[0], flight[1]]):
        collector = InitialCollector()
        found = [hello for hello in map(collector.feed, order) if hello]
        assert [(hello.sni, hello.alpn) for hello in found] == [(NAME, tuple(alpn))]
        assert collector.version == version and ja.ja4(found[0], "q").startswith("q13d")
    assert names(QuicKnobs(join="datagram"), *flight) == []


def test_two_ends_that_change_the_version(key: Path) -> None:
    # RFC 9368: the client begins with version 1, the server answers in version 2, under keys of the same first ID.
    seen = quic_flows.handshake(NAME, first=VERSION_1, preferred=[VERSION_2, VERSION_1], key=key)
    collector = InitialCollector()
    for client, data in seen:
        collector.feed(data, from_client=client)
    assert {int.from_bytes(data[1:5], "big") for _, data in seen if quic.is_initial(data)} == {VERSION_1, VERSION_2}
    # aioquic protects the ACK that its client then sends with keys of version 1, so that its own server can't read it.
    assert [hello.sni for hello in collector.hellos] == [NAME]
    assert collector.version == VERSION_2 and collector.server_hello is not None


def test_the_keys_stay_those_of_the_first_id() -> None:
    """After the first answer the client writes the server's ID into its Initials, or none; the keys don't change."""
    frames = quic_flows.cut(MESSAGE, [700])
    first = quic_flows.initial(frames[0])
    for dcid in (b"", b"server's", bytes(20)):
        second = quic_flows.initial(frames[1], dcid=dcid, keys_of=quic_flows.DCID, packet_number=1)
        assert names(quic.STRICT, first, second) == [NAME]
        assert names(quic.STRICT, second) == []
    other = quic_flows.initial(frames[1], dcid=b"another connection")
    assert names(quic.STRICT, first, other) == []


@pytest.mark.parametrize("dcid", [b"", b"12345678", bytes(20)])
def test_ids_of_any_length(dcid: bytes) -> None:
    assert names(quic.STRICT, quic_flows.initial(quic_flows.crypto(0, SMALL), dcid=dcid, token=b"t" * 90)) == [
        "a.example"
    ]


def test_a_decoy_does_not_hide_the_true_hello() -> None:
    decoy = quic_flows.initial(quic_flows.crypto(0, OTHER), dcid=b"decoy id")
    true = quic_flows.initial(quic_flows.crypto(0, SMALL))
    assert names(quic.STRICT, decoy, true) == ["decoy.example", "a.example"]
    assert names(QuicKnobs(most_hellos=1), decoy, true) == ["decoy.example"]
    assert names(quic.STRICT, decoy + true) == ["decoy.example"]  # RFC 9000 §12.2: other IDs are ignored


def test_the_first_copy_of_a_byte_stands() -> None:
    innocent = SMALL.replace(b"a.example", b"b.example")
    payload = quic_flows.crypto(0, SMALL[:70]) + quic_flows.crypto(0, innocent)
    assert names(quic.STRICT, quic_flows.initial(payload)) == ["a.example"]


@pytest.mark.parametrize(
    ("knobs", "frames_of_datagrams", "found"),
    [
        (CHINA, [[quic_flows.crypto(0, SMALL)]], True),
        (CHINA, [[b"\1", quic_flows.crypto(0, SMALL)]], False),
        (CHINA, [[b"\0", quic_flows.crypto(0, SMALL)]], False),
        (CHINA, [quic_flows.cut(SMALL, [30])], True),
        (CHINA, [[quic_flows.crypto(0, SMALL[:30])], [quic_flows.crypto(30, SMALL[30:])]], False),
        (QuicKnobs(join="frame"), [quic_flows.cut(SMALL, [30])], False),
        (QuicKnobs(join="frame"), [[b"\1\0", quic_flows.crypto(0, SMALL)]], True),
        (QuicKnobs(join="datagram"), [[quic_flows.crypto(0, SMALL[:30])], [quic_flows.crypto(30, SMALL[30:])]], False),
        (quic.STRICT, [[quic_flows.crypto(30, SMALL[30:])], [b"\1\0", quic_flows.crypto(0, SMALL[:30])]], True),
        (QuicKnobs(most_datagrams=1), [[b"\1"], [quic_flows.crypto(0, SMALL)]], False),
        (QuicKnobs(most_packets=2), [[b"\1"], [b"\1"], [quic_flows.crypto(0, SMALL)]], False),
    ],
)
def test_knobs(knobs: QuicKnobs, frames_of_datagrams: list[list[bytes]], found: bool) -> None:
    datagrams = [
        quic_flows.initial(b"".join(listed), packet_number=place) for place, listed in enumerate(frames_of_datagrams)
    ]
    assert names(knobs, *datagrams) == (["a.example"] if found else [])


def test_noise_counts_as_a_datagram() -> None:
    hello = quic_flows.initial(quic_flows.crypto(0, SMALL))
    assert names(QuicKnobs(most_datagrams=1), b"noise", hello) == []
    assert names(QuicKnobs(most_datagrams=2), b"noise", hello) == ["a.example"]


def test_versions_that_are_not_understood() -> None:
    hello = quic_flows.initial(quic_flows.crypto(0, SMALL), version=VERSION_2)
    assert names(CHINA, hello) == []
    unknown = hello[:1] + b"\x1a\x2a\x3a\x4a" + hello[5:]
    assert only_packet(unknown).kind is Kind.UNKNOWN
    assert (names(quic.STRICT, unknown), quic.is_initial(unknown), quic.is_long_header(unknown)) == ([], False, False)


def test_packets_of_one_datagram() -> None:
    frames = quic_flows.cut(SMALL, [30])
    parts = [quic_flows.initial(frame, packet_number=place) for place, frame in enumerate(frames)]
    handshake = b"\xe3" + parts[0][1:5] + b"\x08" + quic_flows.DCID + b"\0" + quic_flows.number(30, 2) + bytes(30)
    datagram = handshake + parts[1] + parts[0] + b"\x40short header"
    kinds = [packet.kind for packet in quic_packet.packets(datagram)]
    assert kinds == [Kind.HANDSHAKE, Kind.INITIAL, Kind.INITIAL, Kind.SHORT]
    assert names(QuicKnobs(join="datagram"), datagram) == ["a.example"]
    assert names(QuicKnobs(join="datagram", coalesced=False), datagram) == []
    assert names(QuicKnobs(join="packet"), datagram) == []


def test_a_packet_that_cannot_be_read_does_not_hide_the_next() -> None:
    hello = quic_flows.initial(quic_flows.crypto(0, SMALL))
    junk = hello[:-1] + bytes([hello[-1] ^ 1])
    assert names(quic.STRICT, junk + hello) == ["a.example"]
    assert names(quic.STRICT, junk, hello) == ["a.example"]


def test_a_version_negotiation_is_told() -> None:
    collector = InitialCollector()
    collector.feed(quic_flows.initial(b"\1"))
    answer = b"\xc0" + bytes(4) + b"\0\x08" + quic_flows.DCID + b"\x6b\x33\x43\xcf\0\0\0\1"
    collector.feed(answer, from_client=False)
    assert collector.versions_offered == (VERSION_2, VERSION_1) and only_packet(answer).kind is Kind.VERSION_NEGOTIATION


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\x06", b"\x06\0\x40", b"\x06\0\x05abcd", b"\x08\0data", b"\x1d\0\0", b"\x1e", b"\x02\0\0\x3f\0",
        b"\x1c\0\0\x05abcd", b"\xff" * 9,
    ],
)  # fmt: skip
def test_frames_that_are_broken_or_not_allowed(payload: bytes) -> None:
    with pytest.raises(ValueError):
        quic_packet.frames(payload)


def test_frames_are_walked() -> None:
    payload = b"\0\0\0\1\2\5\0\1\0\1\0\3\5\0\0\0\1\1\1" + quic_flows.crypto(5, b"abc") + b"\x1c\7\6\3why\0\0"
    found = quic_packet.frames(payload)
    assert [frame.kind for frame in found] == [0, 1, 2, 3, 6, 0x1C, 0]
    assert (found[4].offset, found[4].data, found[5].data) == (5, b"abc", b"why")


@given(st.lists(st.integers(1, len(MESSAGE)), max_size=12), st.randoms(use_true_random=False), st.integers(1, 4))
def test_crypto_may_be_cut_and_mixed_anyhow(places: list[int], chance: Random, repeats: int) -> None:
    frames = quic_flows.cut(MESSAGE, places) * repeats + [quic_flows.crypto(5, MESSAGE[5:500])]
    chance.shuffle(frames)
    datagrams = [quic_flows.initial(b"\1" + frame + b"\0", packet_number=place) for place, frame in enumerate(frames)]
    assert names(quic.STRICT, *datagrams) == [NAME]


def test_one_byte_a_frame_in_any_order() -> None:
    frames = [quic_flows.crypto(place, SMALL[place : place + 1]) for place in range(len(SMALL))]
    mixed = [*frames[::2], *frames[1::2][::-1]]
    datagrams = [
        quic_flows.initial(b"".join(mixed[place : place + 10]), packet_number=place)
        for place in range(0, len(mixed), 10)
    ]
    assert names(quic.STRICT, *datagrams) == ["a.example"]


@given(st.data())
def test_damage_never_raises_and_never_gives_another_name(data: st.DataObject) -> None:
    flow = [(client, bytearray(datagram)) for client, datagram in quic_flows.captured("safari270")[:2]]
    for _, datagram in flow:
        for place in data.draw(st.lists(st.integers(0, len(datagram) - 1), max_size=3)):
            datagram[place] = data.draw(st.integers(0, 255))
    collector = InitialCollector()
    for client, datagram in flow:
        collector.feed(bytes(datagram[: data.draw(st.integers(0, len(datagram)))]), from_client=client)
    assert {hello.sni for hello in collector.hellos} <= {NAME}


@given(st.binary(max_size=60), st.sampled_from([VERSION_1, VERSION_2, DRAFT_29, 0, 7]), st.booleans())
def test_noise_never_raises(noise: bytes, version: int, from_client: bool) -> None:
    for datagram in (noise, b"\xc3" + version.to_bytes(4, "big") + noise):
        collector = InitialCollector()
        assert collector.feed(datagram, from_client=from_client) is None
        assert quic.client_hello(datagram) is None
        try:
            list(quic_packet.packets(datagram))
        except ValueError:
            continue


@given(st.binary(max_size=200))
def test_any_payload_under_the_right_keys_never_raises(payload: bytes) -> None:
    collector = InitialCollector()
    for content in (payload, quic_flows.crypto(0, payload), quic_flows.crypto(0, b"\1\0\0" + payload)):
        collector.feed(quic_flows.initial(content))
        collector.feed(quic_flows.initial(content, from_client=False), from_client=False)
    assert all(hello.sni is None for hello in collector.hellos)


def test_a_flood_is_bounded() -> None:
    collector = InitialCollector()
    far = quic_flows.crypto(1 << 29, b"far ahead") + quic_flows.crypto((1 << 16) - 9, b"near")
    for place in range(200):
        collector.feed(quic_flows.initial(far, packet_number=place))
    assert collector.done and collector.hello is None
    assert collector.feed(quic_flows.initial(quic_flows.crypto(0, SMALL))) is None


def test_views_are_read_like_bytes() -> None:
    datagram = quic_flows.initial(quic_flows.crypto(0, SMALL))
    view = memoryview(b"xx" + datagram)[2:]
    assert quic.is_initial(view) and quic.is_long_header(view)
    found = quic.client_hello(view)
    assert found is not None and found == quic.client_hello(datagram)
