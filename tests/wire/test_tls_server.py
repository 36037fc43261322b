"""What servers show, against OpenSSL through Python's ssl."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from testbed.wire import ja, tls_server
from tests.wire import hellos


@pytest.fixture(scope="module")
def server(key: Path) -> ssl.SSLContext:
    """A server with a certificate for two names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def answer(server: ssl.SSLContext, *, highest: ssl.TLSVersion) -> tuple[bytes, ssl.SSLObject]:
    """Return a server's first flight to a client that offers up to this version, and the client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = highest
    context.set_alpn_protocols(["http/1.1"])
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server)
    peer_out = ssl.MemoryBIO()
    peer = server.wrap_bio(to_server, peer_out, server_side=True)
    for side in (client, peer):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
    flight = peer_out.read()
    to_client.write(flight)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
        peer.do_handshake()
        client.do_handshake()
        client.read(1)
    return flight, client


def test_a_server_of_tls_12_shows_its_names(server: ssl.SSLContext) -> None:
    flight, _ = answer(server, highest=ssl.TLSVersion.TLSv1_2)
    hello = tls_server.server_hello(flight)
    assert hello is not None
    assert (hello.version, hello.legacy_version, hello.alpn, hello.asks_again) == (0x303, 0x303, ("http/1.1",), False)
    assert tls_server.certificate_names(flight) == ("a.example", "*.b.example")
    assert [kind for kind, _ in tls_server.messages(flight)] == [2, 11, 12, 14]


def test_a_server_of_tls_13_hides_them(server: ssl.SSLContext) -> None:
    flight, client = answer(server, highest=ssl.TLSVersion.TLSv1_3)
    hello = tls_server.server_hello(flight)
    chosen = client.cipher()
    assert hello is not None and chosen is not None
    assert (hello.version, hello.legacy_version, hello.alpn) == (0x304, 0x303, ())
    assert {0x1301: "TLS_AES_128_GCM_SHA256", 0x1302: "TLS_AES_256_GCM_SHA384"}[hello.cipher] == chosen[0]
    assert tls_server.certificate_names(flight) == ()


def test_a_refusal_is_an_alert(server: ssl.SSLContext) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = server.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(hellos.record(hellos.message([], ciphers=(0x0005,))))
    with pytest.raises(ssl.SSLError):
        peer.do_handshake()
    told = outgoing.read()
    found = tls_server.alert(told)
    assert found is not None and found.level == 2 and found.description in (40, 70)
    assert tls_server.server_hello(told) is None


def test_tshark_reads_the_same_ja3s(server: ssl.SSLContext, tmp_path: Path) -> None:
    flights = [answer(server, highest=v)[0] for v in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
    packets = [Ether() / IP() / TCP(sport=443, dport=40000 + i, flags="PA") / data for i, data in enumerate(flights)]
    wrpcap(str(tmp_path / "flights.pcap"), packets)
    seen = subprocess.run(
        ["tshark", "-r", str(tmp_path / "flights.pcap"), "-T", "fields", "-e", "tls.handshake.ja3s"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    hellos_seen = [tls_server.server_hello(data) for data in flights]
    assert seen == [ja.ja3s(hello) for hello in hellos_seen if hello is not None]


@given(st.binary(max_size=120))
def test_noise_raises_nothing_but_value_errors(noise: bytes) -> None:
    for data in (noise, hellos.record(b"\2\0\0" + noise), hellos.record(b"\x0b" + hellos.vector(3, noise))):
        for read in (tls_server.server_hello, tls_server.alert, tls_server.certificate_names):
            try:
                read(data)
            except ValueError:
                continue
