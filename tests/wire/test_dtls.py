"""DTLS hellos read from captures of OpenSSL, GnuTLS and pion; the expected fields are tshark's."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.wire import dtls
from tests.dpi.fingerprints.flows import CAPTURES, of_capture


def datagrams(name: str, from_client: bool = True) -> list[bytes]:
    openings = [opening for opening in of_capture(CAPTURES / f"{name}.pcap") if opening.proto == 17]
    return [packet.payload for packet in openings[0].of(from_client)]


def test_a_client_hello_of_openssl() -> None:
    hello = dtls.client_hello(datagrams("dtls-openssl"))
    assert hello is not None
    assert (hello.record_version, hello.version, hello.session_id, hello.cookie) == (0xFEFF, 0xFEFD, b"", b"")
    assert (hello.ciphers[:3], len(hello.ciphers)) == ((0xC02C, 0xC030, 0x009F), 28)
    assert hello.extension_types == (11, 10, 35, 22, 23, 13)


def test_the_server_hello_that_answers_it() -> None:
    hello = dtls.server_hello(datagrams("dtls-openssl", from_client=False))
    assert hello is not None
    assert (hello.ciphers, hello.extension_types) == ((0xC030,), (65281, 11, 35, 23))


def test_a_client_hello_of_gnutls_with_a_session_id() -> None:
    hello = dtls.client_hello(datagrams("anyconnect"))
    assert hello is not None
    assert len(hello.session_id) == 32
    assert hello.ciphers == (0x00A9, 0xCCAB, 0xC0A5, 0x008D, 0x00A8, 0xC0A4, 0x008C, 0x00AE)
    assert hello.extension_types == (13, 35, 65281, 28)


def test_a_client_hello_of_pion() -> None:
    hello = dtls.client_hello(datagrams("snowflake", from_client=False)) or dtls.client_hello(datagrams("snowflake"))
    assert hello is not None
    assert (hello.record_version, hello.version) == (0xFEFD, 0xFEFD)
    assert hello.ciphers == (0xC02B, 0xC02F, 0xC00A, 0xC014, 0xC02C, 0xC030)
    assert hello.extension_types == (13, 65281, 10, 11, 14, 23)


def pieces(size: int) -> list[bytes]:
    """Cut the hello of OpenSSL's capture into fragments of `size` bytes, each in a record and a datagram of its own."""
    record = datagrams("dtls-openssl")[0]
    head, body = record[13:25], record[25:]
    made = []
    for number, at in enumerate(range(0, len(body), size)):
        part = body[at : at + size]
        message = head[:6] + at.to_bytes(3, "big") + len(part).to_bytes(3, "big") + part
        made.append(record[:5] + number.to_bytes(6, "big") + len(message).to_bytes(2, "big") + message)
    return made


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_hello_in_pieces_in_any_order(size: int) -> None:
    whole, parts = dtls.client_hello(datagrams("dtls-openssl")[:1]), pieces(size)
    assert whole is not None
    assert dtls.client_hello(parts) == whole
    assert dtls.client_hello(reversed(parts)) == whole
    assert dtls.client_hello([b"".join(parts[:9]), *parts[9:]]) == whole
    assert dtls.client_hello(parts[:-1]) is None


def test_records_come_in_order() -> None:
    found = [record for datagram in datagrams("dtls-openssl") for record in dtls.records(datagram)]
    assert [record.type for record in found[:2]] == [dtls.HANDSHAKE] * 2
    assert all(later.sequence > earlier.sequence for earlier, later in pairwise(found) if earlier.epoch == later.epoch)


@given(st.binary(max_size=300), st.integers(0, 200))
def test_hostile_bytes_never_raise(junk: bytes, at: int) -> None:
    record = datagrams("dtls-openssl")[0]
    dtls.client_hello([junk])
    dtls.client_hello([record[:at] + junk])
    dtls.server_hello([record[:13] + b"\x02" + junk])
    dtls.client_hello([record[:25] + junk.ljust(len(record) - 25, b"\0")[: len(record) - 25]])
