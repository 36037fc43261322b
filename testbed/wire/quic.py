"""The ClientHello in QUIC's Initials, put together as well or as badly as a censor does.

Theory of operation
  - The keys of a connection's Initials are those of the client's *first* Destination Connection ID. A client takes the
    server's choice of ID from the first answer on, so the collector keeps the keys and tries them before it derives
    new ones from the ID that stands in the packet. A Retry, a Version Negotiation and a second connection between the
    same ports make such an attempt of their own, with its own CRYPTO stream.
  - CRYPTO frames come in any order, several times, over packets and datagrams. Where copies differ the first stands.
  - Nothing is kept of a packet that its keys don't open; packets, bytes, frames and attempts are bounded.

The Great Firewall since 2024 (facts/censors.md) is `QuicKnobs(versions=frozenset({VERSION_1}), join="packet",
gives_up_before_crypto=frozenset({PADDING, PING}))`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from testbed.wire import tls, tls_server
from testbed.wire.quic_crypto import InitialKeys, Undecryptable, initial_keys, retry_is_genuine
from testbed.wire.quic_packet import (
    CRYPTO,
    DRAFTS,
    PADDING,
    PING,
    VERSION_1,
    VERSION_2,
    Frame,
    Kind,
    Packet,
    frames,
    is_initial,
    is_long_header,
    packets,
)

__all__ = [
    "PADDING", "PING", "STRICT", "VERSION_1", "VERSION_2", "Initial", "InitialCollector", "QuicKnobs", "client_hello",
    "is_initial", "is_long_header",
]  # fmt: skip

_MOST_BYTES = 1 << 17
_MOST_FRAMES = 4096
_MOST_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class QuicKnobs:
    """How hard a censor looks; the default looks as well as a server does."""

    versions: frozenset[int] = frozenset({VERSION_1, VERSION_2, *DRAFTS})
    """The versions whose Initials it decrypts."""
    join: Literal["frame", "packet", "datagram", "flow"] = "flow"
    """The largest thing over which it puts CRYPTO frames together."""
    gives_up_before_crypto: frozenset[int] = frozenset()
    """Frame types that make it pass a packet over if they stand before its first CRYPTO frame."""
    coalesced: bool = True
    """It looks at more than the first packet of a datagram."""
    most_datagrams: int | None = None
    """It looks at so many of a client's datagrams, whatever they hold; None for all."""
    most_packets: int = 64
    """It decrypts so many Initials of a flow, both sides together."""
    most_hellos: int = 4
    """It looks for so many hellos of a flow; with 1, a decoy before the true one is enough to evade it."""


STRICT = QuicKnobs()


@dataclass(frozen=True, slots=True)
class Initial:
    """An Initial without its protection."""

    version: int
    dcid: bytes
    scid: bytes
    token: bytes
    number: int
    frames: tuple[Frame, ...]
    from_client: bool

    @property
    def frames_before_crypto(self) -> tuple[int, ...]:
        """Return the types of the frames before the first CRYPTO frame, of all if there is none."""
        kinds = tuple(frame.kind for frame in self.frames)
        return kinds[: kinds.index(CRYPTO)] if CRYPTO in kinds else kinds


class _Attempt:
    """One try of a client to connect: the keys of its first Destination Connection ID, and both CRYPTO streams."""

    __slots__ = ("_keys", "dcid", "finished", "largest", "streams")

    def __init__(self, dcid: bytes) -> None:
        self.dcid = dcid
        self._keys: dict[tuple[int, bool], InitialKeys] = {}
        self.largest = [-1, -1]
        self.streams: tuple[list[Frame], list[Frame]] = ([], [])
        self.finished = [False, False]

    def open(self, datagram: memoryview | bytes, packet: Packet, from_client: bool) -> Initial:
        keys = self._keys.get((packet.version, from_client))
        if keys is None:
            keys = initial_keys(packet.version, self.dcid, from_client=from_client)
            self._keys[packet.version, from_client] = keys
        side = 0 if from_client else 1
        number, payload = keys.open(datagram, packet, self.largest[side])
        self.largest[side] = max(self.largest[side], number)
        return Initial(
            packet.version, packet.dcid, packet.scid, packet.token, number, frames(payload), from_client
        )  # fmt: skip


class InitialCollector:
    """What the Initials of one UDP flow tell. Mutable and small: it lives in the censor's flow."""

    __slots__ = (
        "_attempts", "_datagrams", "_knobs", "_packets", "error", "frames_before_crypto", "hellos", "retried",
        "server_hello", "version", "versions_offered",
    )  # fmt: skip

    def __init__(self, knobs: QuicKnobs = STRICT) -> None:
        self._knobs = knobs
        self._attempts: list[_Attempt] = []
        self._datagrams = 0
        self._packets = 0
        self.hellos: tuple[tls.ClientHello, ...] = ()
        self.server_hello: tls_server.ServerHello | None = None
        self.version: int | None = None
        """The version of the last Initial that was opened."""
        self.frames_before_crypto: tuple[int, ...] = ()
        """Those of the client's last Initial with CRYPTO that was opened."""
        self.retried = False
        """The server asked for a token (Retry), and its tag was right."""
        self.versions_offered: tuple[int, ...] = ()
        """What the server offered instead (Version Negotiation)."""
        self.error: str | None = None
        """What was wrong with the last packet that could not be read."""

    @property
    def hello(self) -> tls.ClientHello | None:
        """Return the last ClientHello that became whole."""
        return self.hellos[-1] if self.hellos else None

    @property
    def done(self) -> bool:
        """Say whether no further datagram of the client can change anything."""
        knobs = self._knobs
        enough = knobs.most_datagrams is not None and self._datagrams >= knobs.most_datagrams
        return enough or self._packets >= knobs.most_packets or len(self.hellos) >= knobs.most_hellos

    def feed(self, datagram: memoryview | bytes, *, from_client: bool = True) -> tls.ClientHello | None:
        """Take a datagram; return the ClientHello that it made whole. Never raises: see `error`."""
        if from_client and self.done:
            return None
        self._datagrams += from_client
        if not is_long_header(datagram):
            return None
        count = len(self.hellos)
        try:
            self._take(datagram, from_client)
        except ValueError as error:
            self.error = str(error)
        return self.hellos[-1] if len(self.hellos) > count else None

    def _take(self, datagram: memoryview | bytes, from_client: bool) -> None:
        """Take the packets of a datagram.

        As RFC 9000 §12.2 has it, those of another connection are ignored, and one that can't be read does not keep the
        next from being read.
        """
        gathered: list[Frame] = []
        first: bytes | None = None
        for packet in packets(datagram):
            first = packet.dcid if first is None else first
            try:
                if packet.kind is Kind.INITIAL and packet.dcid == first:
                    self._take_initial(datagram, packet, from_client, gathered)
                elif not from_client:
                    self._take_refusal(datagram, packet)
            except ValueError as error:
                self.error = str(error)
            if not self._knobs.coalesced:
                return

    def _take_refusal(self, datagram: memoryview | bytes, packet: Packet) -> None:
        if packet.kind is Kind.VERSION_NEGOTIATION:
            self.versions_offered = packet.versions
        elif packet.kind is Kind.RETRY and packet.version in self._knobs.versions:
            genuine = any(retry_is_genuine(datagram, packet, attempt.dcid) for attempt in self._attempts)
            self.retried = self.retried or genuine

    def _take_initial(
        self, datagram: memoryview | bytes, packet: Packet, from_client: bool, gathered: list[Frame]
    ) -> None:
        if packet.version not in self._knobs.versions or self._packets >= self._knobs.most_packets:
            return
        if not from_client and self.server_hello is not None:
            return
        self._packets += 1
        attempt, initial = self._open(datagram, packet, from_client)
        self.version = initial.version
        crypto = [frame for frame in initial.frames if frame.kind == CRYPTO]
        if not crypto:
            return
        if from_client:
            self.frames_before_crypto = initial.frames_before_crypto
            if not self._knobs.gives_up_before_crypto.isdisjoint(initial.frames_before_crypto):
                raise ValueError("a frame before CRYPTO at which this censor gives up")
        self._gather(attempt, crypto, 0 if from_client else 1, gathered)

    def _open(self, datagram: memoryview | bytes, packet: Packet, from_client: bool) -> tuple[_Attempt, Initial]:
        for attempt in reversed(self._attempts):
            try:
                return attempt, attempt.open(datagram, packet, from_client)
            except Undecryptable:
                continue
        if not from_client or any(attempt.dcid == packet.dcid for attempt in self._attempts):
            raise Undecryptable("an Initial of unknown keys")
        attempt = _Attempt(packet.dcid)
        initial = attempt.open(datagram, packet, from_client)
        self._attempts = [*self._attempts[1 - _MOST_ATTEMPTS :], attempt]
        return attempt, initial

    def _gather(self, attempt: _Attempt, crypto: list[Frame], side: int, gathered: list[Frame]) -> None:
        """Put the frames to those they may be joined with, and read the hello if it is whole now."""
        if attempt.finished[side]:
            return
        join = self._knobs.join
        if join == "frame":
            for frame in crypto:
                self._read(attempt, [frame], side)
            return
        kept = {"packet": list[Frame](), "datagram": gathered, "flow": attempt.streams[side]}[join]
        kept.extend(crypto)
        if len(kept) > _MOST_FRAMES or sum(len(frame.data) for frame in kept) > _MOST_BYTES:
            attempt.finished[side] = True
            kept.clear()
            raise ValueError("more CRYPTO than a hello can be")
        self._read(attempt, kept, side)

    def _read(self, attempt: _Attempt, crypto: list[Frame], side: int) -> None:
        message = beginning(crypto)
        if len(message) < 4 or attempt.finished[side]:
            return
        wanted = (tls.CLIENT_HELLO, tls_server.SERVER_HELLO)[side]
        end = 4 + int.from_bytes(message[1:4], "big")
        if message[0] == wanted and len(message) < end <= 4 + tls.LONGEST_HELLO:
            return
        # Whatever it is, it is settled: a hello, or something that begins like none.
        attempt.finished[side] = True
        attempt.streams[side].clear()
        if message[0] != wanted or end > len(message):
            raise ValueError("CRYPTO that begins with no hello")
        if side:
            self.server_hello = tls_server.parse_server_hello(message[4:end])
        else:
            self.hellos += (tls.parse_hello(message[:end]),)


def beginning(crypto: list[Frame]) -> bytes:
    """Put CRYPTO frames together: the bytes from offset 0 to the first gap; the first copy of a byte stands."""
    size = max((frame.offset + len(frame.data) for frame in crypto if frame.offset < _MOST_BYTES), default=0)
    content, present = bytearray(size), bytearray(size)
    for frame in reversed(crypto):
        if frame.offset < _MOST_BYTES:
            end = frame.offset + len(frame.data)
            content[frame.offset : end] = frame.data
            present[frame.offset : end] = b"\1" * len(frame.data)
    gap = present.find(0)
    return bytes(content if gap < 0 else content[:gap])


def client_hello(datagram: memoryview | bytes, knobs: QuicKnobs = STRICT) -> tls.ClientHello | None:
    """Read the ClientHello of a single datagram; None if it holds no whole one."""
    return InitialCollector(knobs).feed(datagram)
