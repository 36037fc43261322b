"""QUIC flows for tests: captured ones, aioquic's, and Initials of any shape that aioquic's cryptography protects."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Literal

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair

from testbed.wire.quic_packet import packets
from tests.wire.hellos import DATA

Flow = list[tuple[bool, bytes]]
"""Datagrams, each with whether the client sent it."""
DCID = bytes.fromhex("8394c8f03e515708")


def captured(name: str) -> Flow:
    """Return the first datagrams of curl_cffi 0.17.0 dressed as a browser, with an aioquic server."""
    lines = (DATA / "quic" / f"{name}.flow").read_text().splitlines()
    return [(line[0] == ">", bytes.fromhex(line[2:])) for line in lines]


def from_aioquic(name: str | None, *, versions: list[int], alpn: list[str]) -> list[bytes]:
    """Return the first flight of an aioquic client."""
    client = _client(name, versions, alpn, versions[0])
    return [data for data, _ in client.datagrams_to_send(now=0.0)]


def handshake(name: str, *, first: int, preferred: list[int], key: Path) -> Flow:
    """Return what an aioquic client and server say: the client begins with one version and would rather have others.

    `key` is a PEM file with the server's key and certificate.
    """
    client = _client(name, preferred, ["h3"], first)
    configuration = QuicConfiguration(is_client=False, supported_versions=preferred, alpn_protocols=["h3"])
    configuration.load_cert_chain(key, key)
    waiting = [data for data, _ in client.datagrams_to_send(now=0.0)]
    packet = next(packets(waiting[0]))
    server = QuicConnection(configuration=configuration, original_destination_connection_id=packet.dcid)
    said: Flow = []
    for sender, receiver in [(client, server), (server, client)] * 3:
        for data in waiting:
            said.append((sender is client, data))
            receiver.receive_datagram(data, ("198.18.0.1", 443), now=0.1)
        waiting = [data for data, _ in receiver.datagrams_to_send(now=0.1)]
    return said


def _client(name: str | None, versions: list[int], alpn: list[str], first: int) -> QuicConnection:
    client = QuicConnection(
        configuration=QuicConfiguration(
            server_name=name, original_version=first, supported_versions=versions, alpn_protocols=alpn,
            verify_mode=ssl.CERT_NONE,
        )
    )  # fmt: skip
    client.connect(("198.18.0.1", 443), now=0.0)
    return client


def number(value: int, size: Literal[1, 2, 4, 8] = 8) -> bytes:
    """Write a variable-length integer of a chosen size."""
    return (value | {1: 0, 2: 1, 4: 2, 8: 3}[size] << (8 * size - 2)).to_bytes(size, "big")


def crypto(offset: int, data: bytes) -> bytes:
    """Write a CRYPTO frame."""
    return b"\x06" + number(offset, 4) + number(len(data), 2) + data


def initial(
    payload: bytes, *, version: int = 1, dcid: bytes = DCID, keys_of: bytes | None = None, packet_number: int = 0,
    from_client: bool = True, token: bytes = b"", scid: bytes = b"", least: int = 0,
) -> bytes:  # fmt: skip
    """Protect an Initial with the keys of `keys_of` (or `dcid`), its payload padded to `least` bytes."""
    pair = CryptoPair()
    pair.setup_initial(cid=dcid if keys_of is None else keys_of, is_client=from_client, version=version)
    payload = payload.ljust(max(least, 4), b"\0")
    first = 0xD3 if version == 0x6B3343CF else 0xC3
    header = bytes([first]) + version.to_bytes(4, "big") + bytes([len(dcid)]) + dcid + bytes([len(scid)]) + scid
    header += number(len(token), 1 if len(token) < 64 else 2) + token + number(4 + len(payload) + 16, 2)
    return bytes(pair.encrypt_packet(header + packet_number.to_bytes(4, "big"), payload, packet_number))


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut data into CRYPTO frames at these offsets."""
    edges = [0, *sorted({place for place in places if 0 < place < len(data)}), len(data)]
    return [crypto(begin, data[begin:end]) for begin, end in pairwise(edges)]
