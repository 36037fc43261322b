"""India, Airtel: a page with a frame instead of the site; what needs two packets evades (facts/censors.md)."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP

from testbed.dpi.decision import Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import load_policy
from tests.dpi.one_rule import injected, sides
from tests.dpi.playbook import (
    INSIDE,
    ISN,
    PEER_ISN,
    Playbook,
    client_hello,
    data,
    opened,
    playbook,
    query,
    request,
    request_bytes,
    rule,
    silence,
)

BAD = "thepiratebay.org"


@pytest.fixture
def book() -> Playbook:
    return playbook(Engine(load_policy("india-airtel"), seed=1))


def padded(size: int) -> bytes:
    """A request of exactly so many bytes."""
    head = f"GET / HTTP/1.1\r\nHost: {BAD}\r\nX-Padding: ".encode()
    return head + b"x" * (size - len(head) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize("port", [80, 8080])
def test_a_page_with_a_frame_comes_in_the_servers_name(book: Playbook, port: int) -> None:
    opened(book, port) >> request(BAD, port) << rule("http-host")
    (packet,) = injected(book.last)
    assert (sides(book.last), book.last.verdict) == ([INSIDE], Verdict.PASS)
    content = bytes(packet[TCP].payload)
    assert content.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"<iframe" in content
    body = content.partition(b"\r\n\r\n")[2]
    assert f"Content-Length: {len(body)}\r\n".encode() in content
    assert (str(packet[TCP].flags), packet[TCP].seq) == ("FPA", PEER_ISN + 1)
    assert packet[TCP].ack == ISN + 1 + len(request_bytes(BAD))


def test_other_hosts_dns_and_tls_pass(book: Playbook) -> None:
    opened(book, 80) >> request("example.org") << silence()
    book >> query(BAD) << silence()
    opened(book) >> client_hello(BAD) << silence()


def test_a_request_of_1448_bytes_is_seen(book: Playbook) -> None:
    opened(book, 80) >> data(padded(1448), 80) << rule("http-host")


def test_one_byte_more_evades(book: Playbook) -> None:
    content = padded(1449)
    opened(book, 80) >> data(content[:1448], 80) << silence() >> data(content[1448:], 80, 1448) << silence()


def test_segments_evade(book: Playbook) -> None:
    content = request_bytes(BAD)
    opened(book, 80) >> data(content[:30], 80) << silence() >> data(content[30:], 80, 30) << silence()
