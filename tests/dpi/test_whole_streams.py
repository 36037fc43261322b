"""What a censor that reassembles reads in a stream is the same however the stream was cut, shuffled and sent again."""

from __future__ import annotations

import random
import tracemalloc
from itertools import pairwise

import pytest
from scapy.layers.inet import IP, TCP
from scapy.packet import Raw

from testbed.dpi.decision import Note, Side
from testbed.dpi.engine import Engine
from testbed.dpi.fingerprints import Opening
from testbed.dpi.fingerprints.opening import TCP as TCP_NUMBER
from tests.dpi.fingerprints.flows import CAPTURES, of_capture
from tests.dpi.one_rule import one_rule

CLIENT, SERVER = "100.64.1.1", "198.19.3.4"
ISN, PEER_ISN = 0xFFFFFFF0, 77
STRICT = {"preset": "strict"}
#: captures and what they speak
SPOKEN = {
    "bittorrent-tcp": "bittorrent", "dns-tcp": "dns", "http": "http", "http-connect": "http-connect", "pptp": "pptp",
    "socks4": "socks4", "socks5-password": "socks5", "ssh": "ssh", "telegram-abridged": "telegram", "tls-curl": "tls",
    "tor": "tor", "turn-tcp": "turn",
}  # fmt: skip


def turns(opening: Opening) -> list[tuple[bool, bytes]]:
    """Who said what, one after the other."""
    found: list[tuple[bool, bytes]] = []
    for packet in opening.packets:
        if found and found[-1][0] is packet.from_client:
            found[-1] = packet.from_client, found[-1][1] + packet.payload
        else:
            found.append((packet.from_client, packet.payload))
    return found


def cut(said: bytes, chance: random.Random) -> list[tuple[int, bytes]]:
    """Cut what was said into up to six segments, send parts of it twice, and shuffle."""
    cuts = sorted({0, len(said), *(chance.randrange(min(len(said), 60)) for _ in range(4)), len(said) // 2})
    segments = [(at, said[at:end]) for at, end in pairwise(cuts)]
    again = chance.randrange(len(said))
    segments.append((again, said[again : again + 9]))
    chance.shuffle(segments)
    return segments


class Talk:
    """A connection through a censor."""

    def __init__(self, engine: Engine, dport: int = 4000) -> None:
        self.dport = dport
        self.engine, self.now, self.notes = engine, 1000.0, list[Note]()
        self.next = {True: ISN, False: PEER_ISN}
        self.send(True, 0, b"", "S")
        self.send(False, 0, b"", "SA")
        self.next = {True: (ISN + 1) % 2**32, False: PEER_ISN + 1}
        self.send(True, 0, b"")

    def send(self, client: bool, at: int, content: bytes, flags: str = "PA") -> None:
        ends = (CLIENT, SERVER, 40000, self.dport) if client else (SERVER, CLIENT, self.dport, 40000)
        src, dst, sport, dport = ends
        seq, ack = (self.next[client] + at) % 2**32, (self.next[not client] + ("S" in flags)) % 2**32
        packet = IP(src=src, dst=dst) / TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack) / Raw(content)
        self.now += 0.001
        self.notes += self.engine.receive(bytes(packet), Side.INSIDE if client else Side.OUTSIDE, self.now).notes

    def say(self, client: bool, segments: list[tuple[int, bytes]]) -> None:
        for at, content in segments:
            self.send(client, at, content)
        self.next[client] = (self.next[client] + max(at + len(content) for at, content in segments)) % 2**32


@pytest.mark.parametrize(("name", "protocol"), SPOKEN.items())
def test_a_fingerprint_is_found_whatever_the_segments(name: str, protocol: str) -> None:
    said = turns(next(of_capture(CAPTURES / f"{name}.pcap")))[:4]
    for seed in range(12):
        chance = random.Random(seed)
        talk = Talk(one_rule({"looks_like": [protocol]}, {"watch": True}, policy=STRICT))
        for client, content in said:
            talk.say(client, cut(content, chance))
        assert {note.evidence["looks_like"] for note in talk.notes} == {protocol}, seed


def test_a_host_is_read_when_its_line_has_ended() -> None:
    request = b"GET / HTTP/1.1\r\nHost: a.com.example\r\n .org\r\nX: y\r\n\r\n"
    for at in range(1, len(request)):
        talk = Talk(one_rule({"http_host": {"patterns": ["/./"]}}, {"watch": True}, policy=STRICT))
        talk.say(True, [(0, request[:at]), (at, request[at:])])
        assert {note.evidence["http_host"] for note in talk.notes} == {"a.com.example .org"}, at


def test_a_later_copy_puts_right_what_was_shown() -> None:
    opening = Opening(TCP_NUMBER)
    opening.follow(True, b"XX", 0.0)
    opening.follow(True, b"SSH-2.0-a\r\n", 1.0)
    assert opening.client_bytes == b"SSH-2.0-a\r\n"
    assert [packet.length for packet in opening.packets] == [2, 9]
    opening.follow(True, b"GE", 2.0)  # another connection's stream
    assert opening.client_bytes == b"GE"


def test_data_in_a_syn_is_shown_only_to_those_who_read_it() -> None:
    for reads in (True, False):
        policy = {"tracking": {"inspects_syn": reads}, "parser": {"reassembly": "first-wins"}}
        engine = one_rule({"looks_like": ["ssh"]}, {"watch": True}, policy=policy)
        syn = IP(src=CLIENT, dst=SERVER) / TCP(sport=1, dport=2, flags="S", seq=9) / Raw(b"SSH-2.0-a\r\n")
        assert bool(engine.receive(bytes(syn), Side.INSIDE, 1.0).notes) is reads


REQUEST = b"GET /?q=ultrasurf HTTP/1.1\r\nHost: a.com\r\n\r\n"
JUNK = b"-" * 20


@pytest.mark.parametrize(
    "segments",
    [
        [(0, REQUEST[:20]), (0, JUNK), (20, REQUEST[20:])],
        [(0, JUNK), (0, REQUEST[:20]), (20, REQUEST[20:])],
        [(20, REQUEST[20:]), (25, JUNK[:12]), (0, REQUEST[:20])],
        [(25, JUNK[:12]), (20, REQUEST[20:]), (0, REQUEST[:20])],
    ],
    ids=["junk after", "junk before", "junk after, ahead", "junk before, ahead"],
)
@pytest.mark.parametrize("match", [{"http_host": {"patterns": ["=a.com"]}}, {"looks_like": ["http"]}])
def test_bytes_that_come_twice_hide_nothing_from_a_strict_censor(
    segments: list[tuple[int, bytes]], match: dict[str, object]
) -> None:
    """Hosts differ in the copy they take (Ptacek and Newsham 1998), so `strict` reads both."""
    talk = Talk(one_rule(match, {"watch": True}, policy=STRICT))
    talk.say(True, segments)
    assert talk.notes


def test_a_question_is_answered_once_whichever_copy_is_read() -> None:
    question = bytes.fromhex("00170001010000010000000000000161036f7267000001") + b"\0\1"
    talk = Talk(one_rule({"dns": {"patterns": ["=a.org"]}}, {"watch": True}, policy=STRICT), dport=53)
    talk.say(True, [(0, question[:9]), (2, b"\xff\xff"), (9, question[9:]), (len(question), question)])
    assert [note.evidence["dns"] for note in talk.notes] == ["a.org", "a.org"]


def test_an_urgent_byte_hides_nothing_from_a_strict_censor() -> None:
    """Linux leaves the byte before the urgent pointer out of the stream (RFC 6093; Wang et al. 2020, SymTCP)."""
    odd = REQUEST[:34] + b"!" + REQUEST[34:]
    for reassembly, seen in (("either", True), ("last-wins", False)):
        policy = {"preset": "strict", "parser": {"reassembly": reassembly}}
        talk = Talk(one_rule({"http_host": {"patterns": ["=a.com"]}}, {"watch": True}, policy=policy))
        packet = IP(src=CLIENT, dst=SERVER) / TCP(
            sport=40000, dport=4000, flags="PAU", seq=talk.next[True], ack=talk.next[False], urgptr=35
        )  # fmt: skip
        assert bool(talk.engine.receive(bytes(packet / Raw(odd)), Side.INSIDE, 1001.0).notes) is seen


def test_a_name_far_into_a_stream_is_found_by_a_strict_censor() -> None:
    asked = b"GET / HTTP/1.1\r\nHost: b.com\r\n\r\n" * 1000 + REQUEST
    talk = Talk(one_rule({"http_host": {"patterns": ["=a.com"]}}, {"watch": True}, policy=STRICT))
    talk.say(True, [(at, asked[at : at + 1400]) for at in range(0, len(asked), 1400)])
    assert talk.notes


def test_what_a_connection_said_is_forgotten_when_both_sides_have_ended_it() -> None:
    """Else a long capture of short connections takes 64 KiB for each."""
    engine = one_rule({"sni": {"patterns": ["/./"]}}, {"watch": True}, policy=STRICT)
    tracemalloc.start()
    for port in range(1000, 1100):
        talk = Talk(engine, dport=port)
        talk.say(False, [(at, bytes(20000)) for at in range(0, 60000, 20000)])
        talk.send(False, 0, b"", "FA")
        talk.send(True, 0, b"", "FA")
        talk.send(False, 1, b"", "A")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert engine.remembers()["flows"]["tcp"] == 100
    assert held < 2_000_000
