"""The kernel's queue messages, written here as linux/netfilter/nfnetlink_queue.h says, read back in every order."""

from __future__ import annotations

import itertools
import struct

from hypothesis import given
from hypothesis import strategies as st

from testbed.middlebox.queued import Queued, Reader

STAMP = struct.pack("!QQ", 1_764_000_000, 250_000)
Attributes = tuple[tuple[int, bytes], ...]


def message(raw: bytes, number: int = 7, *, more: Attributes = (), stamp: bytes | None = STAMP) -> bytes:
    """Return one message: packet header, interfaces, mark, hardware address, time, checksum hint, the packet."""
    stamps: Attributes = ((4, stamp),) if stamp is not None else ()
    attributes: Attributes = (
        (1, struct.pack("!IHB", number, 0x0800, 2)), (5, struct.pack("!I", 3)), (6, struct.pack("!I", 4)),
        (3, struct.pack("!I", 0x40000)), (9, b"\0\6\0\0" + bytes(8)), *stamps, *more,
    )  # fmt: skip
    body = b"".join(attribute(kind, content) for kind, content in attributes)
    body = struct.pack("!BBH", 2, 0, 0) + body + struct.pack("=HH", 4 + len(raw), 10) + raw
    return struct.pack("=IHHII", 16 + len(body), 0x300, 0, 0, 0) + body


def attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)


def expected(raw: bytes, number: int = 7, arrived: float = 1_764_000_000.25) -> Queued:
    return Queued(number, 3, raw, arrived)


def test_messages_alike_are_read_alike() -> None:
    reader = Reader()
    for number, size in enumerate((40, 41, 1500, 0, 60)):
        raw = bytes(range(256)) * 6
        assert reader.read(message(raw[:size], number)) == [expected(raw[:size], number)]


def test_layouts_may_change_with_every_message() -> None:
    hint: Attributes = ((14, struct.pack("!I", 1)),)
    kinds = [
        message(b"plain"), message(b"hinted", more=hint), message(b"longer", more=((20, b"a context"),)),
        message(b"unstamped", stamp=None), message(b"both", more=(*hint, (17, bytes(4)))), message(b"", more=hint),
    ]  # fmt: skip
    raws = [b"plain", b"hinted", b"longer", b"unstamped", b"both", b""]
    reader = Reader()
    for first, second in itertools.permutations(range(len(kinds)), 2):
        for index in (first, second, first):
            arrived = 0.0 if raws[index] == b"unstamped" else 1_764_000_000.25
            assert reader.read(kinds[index]) == [expected(raws[index], arrived=arrived)]


def test_several_messages_in_a_datagram() -> None:
    reader = Reader()
    assert reader.read(message(b"one ", 1)) == [expected(b"one ", 1)]
    assert reader.read(message(b"two ", 2) + message(b"three", 3)) == [expected(b"two ", 2), expected(b"three", 3)]


def test_what_is_no_packet_is_none() -> None:
    reader = Reader()
    done = struct.pack("=IHHII", 20, 3, 0, 0, 0) + bytes(4)
    assert reader.read(done) == []
    assert reader.read(b"") == []
    assert reader.read(done + message(b"after it", 9)) == [expected(b"after it", 9)]


@given(st.binary(max_size=80))
def test_a_packet_can_not_pass_for_a_part_of_its_message(raw: bytes) -> None:
    reader = Reader()
    reader.read(message(b"", more=((14, bytes(4)),)))
    bare = message(raw, stamp=None)
    assert reader.read(bare) == [expected(raw, arrived=0.0)]
    assert reader.read(bare[:-1]) == []


def test_a_forged_tail_is_not_taken_for_the_packet() -> None:
    """The packet says, at the place where the model's bytes begin, what stands before them there."""
    reader, inner = Reader(), b"forged"
    reader.read(message(b"", more=((14, bytes(4)),)))
    tail = bytes(4) + struct.pack("=HH", 4 + len(inner), 10) + inner
    assert reader.read(message(tail)) == [expected(tail)]


def test_padding_is_no_part_of_the_packet() -> None:
    reader = Reader()
    padded = bytearray(message(b"12345") + bytes(3))
    padded[:4] = struct.pack("=I", len(padded))
    for _ in range(2):
        assert reader.read(bytes(padded)) == [expected(b"12345")]
