"""The teaching box's judgement, on packets that the playbook's helpers and Scapy make."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Raw

from testbed.middlebox import scapy_box
from testbed.wire import dns
from tests.wire.hellos import from_openssl

INSIDE, SERVER = "100.64.1.1", "198.19.3.4"


def segment(data: bytes) -> IP:
    made = IP(src=INSIDE, dst=SERVER) / TCP(sport=40000, dport=443, seq=1000, ack=5000, flags="PA") / Raw(data)
    return IP(bytes(made))


def test_a_listed_question_is_answered_as_if_by_the_server() -> None:
    asked = IP(
        bytes(IP(src=INSIDE, dst=SERVER) / UDP(sport=5353, dport=53) / DNS(id=77, qd=DNSQR(qname="x.twitter.com")))
    )
    ruling = scapy_box.censor(asked, "inside")
    assert ruling is not None
    assert (ruling.rule, ruling.saw, ruling.drop) == ("dns", "x.twitter.com", False)
    answer = IP(bytes(ruling.inject[0]))
    assert (answer.src, answer.dst, answer[UDP].sport, answer[UDP].dport) == (SERVER, INSIDE, 53, 5353)
    message = dns.parse(bytes(answer[UDP].payload))
    assert message.id == 77


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"GET / HTTP/1.1\r\nAccept: */*\r\nhost: www.Facebook.com:80\r\n\r\n", "http-host"),
        (from_openssl("youtube.com"), "tls-sni"),
    ],
)
def test_a_listed_name_draws_a_reset_that_the_sender_must_believe(data: bytes, rule: str) -> None:
    ruling = scapy_box.censor(segment(data), "inside")
    assert ruling is not None
    assert ruling.rule == rule
    forged = IP(bytes(ruling.inject[0]))
    assert (forged.src, forged[TCP].sport, forged[TCP].dport) == (SERVER, 443, 40000)
    assert (forged[TCP].flags, forged[TCP].seq) == ("R", 5000)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: notwitter.com\r\n\r\n",
        from_openssl("weather.example"),
        b"\x16\x03\x01",
        b"",
        b"\0" * 600,
    ],
)
def test_the_rest_passes(data: bytes) -> None:
    assert scapy_box.censor(segment(data), "inside") is None


def test_it_can_be_read_in_one_go() -> None:
    assert scapy_box.__file__ is not None
    assert len(Path(scapy_box.__file__).read_text().splitlines()) < 150
