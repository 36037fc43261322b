"""The protection of QUIC's Initials, whose keys everybody can derive (RFC 9001 §5, RFC 9369 §3.3).

The keys come from the Destination Connection ID of the client's first Initial, and from the version. They hide nothing
from a censor that takes the trouble; they only make it pay for one derivation per connection.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from testbed.wire.quic_packet import DRAFTS, VERSION_1, VERSION_2, Packet


@dataclass(frozen=True, slots=True)
class _Version:
    salt: bytes
    label: str
    retry_key: bytes
    retry_nonce: bytes


_DRAFT = _Version(
    bytes.fromhex("afbfec289993d24c9e9786f19c6111e04390a899"), "quic ",
    bytes.fromhex("ccce187ed09a09d05728155a6cb96be1"), bytes.fromhex("e54930f97f2136f0530a8c1c"),
)  # fmt: skip
_VERSIONS = {
    VERSION_1: _Version(
        bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), "quic ",
        bytes.fromhex("be0c690b9f66575a1d766b54e368c84e"), bytes.fromhex("461599d35d632bf2239825bb"),
    ),
    VERSION_2: _Version(
        bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"), "quicv2 ",
        bytes.fromhex("8fb4b01b56ac48e260fbcbcead7ccc92"), bytes.fromhex("d86969bc2d7c6d9990efb04a"),
    ),
} | dict.fromkeys(DRAFTS, _DRAFT)  # fmt: skip


class Undecryptable(ValueError):
    """The packet was not protected with these keys."""


class InitialKeys:
    """The keys of one side's Initials."""

    __slots__ = ("_aead", "_header", "iv")

    def __init__(self, secret: bytes, label: str) -> None:
        self._aead = AESGCM(_expand(secret, f"{label}key", 16))
        self.iv = int.from_bytes(_expand(secret, f"{label}iv", 12), "big")
        self._header = Cipher(algorithms.AES(_expand(secret, f"{label}hp", 16)), modes.ECB()).encryptor()

    def open(self, datagram: memoryview | bytes, packet: Packet, largest: int = -1) -> tuple[int, bytes]:
        """Remove the protection: the packet number and the payload.

        `largest` is the largest packet number seen so far. `Undecryptable` if the keys are not these, `ValueError` if
        the packet is too short to be sampled.
        """
        at = packet.number_at
        if at + 4 + 16 > packet.end:
            raise ValueError("a QUIC packet too short to be sampled")
        mask = self._header.update(bytes(datagram[at + 4 : at + 20]))
        first = datagram[packet.start] ^ (mask[0] & 0x0F)
        size = (first & 3) + 1
        number_bytes = bytes(byte ^ mask[1 + i] for i, byte in enumerate(datagram[at : at + size]))
        header = bytes([first]) + bytes(datagram[packet.start + 1 : at]) + number_bytes
        number = whole_number(int.from_bytes(number_bytes, "big"), size, largest)
        nonce = (self.iv ^ number).to_bytes(12, "big")
        try:
            return number, self._aead.decrypt(nonce, bytes(datagram[at + size : packet.end]), header)
        except InvalidTag:
            raise Undecryptable("a QUIC packet of other keys") from None


def initial_keys(version: int, dcid: bytes, *, from_client: bool) -> InitialKeys:
    """Derive one side's keys from the client's first Destination Connection ID."""
    known = _VERSIONS[version]
    secret = hmac.digest(known.salt, dcid, "sha256")
    return InitialKeys(_expand(secret, "client in" if from_client else "server in", 32), known.label)


def _expand(secret: bytes, label: str, length: int) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 §7.1), for at most one block."""
    name = b"tls13 " + label.encode()
    info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
    return hmac.digest(secret, info + b"\1", "sha256")[:length]


def whole_number(truncated: int, size: int, largest: int) -> int:
    """Complete a packet number of `size` bytes: the one nearest to the next expected (RFC 9000 §A.3)."""
    expected, window = largest + 1, 1 << 8 * size
    candidate = expected & ~(window - 1) | truncated
    if candidate <= expected - window // 2 and candidate < (1 << 62) - window:
        return candidate + window
    if candidate > expected + window // 2 and candidate >= window:
        return candidate - window
    return candidate


def retry_is_genuine(datagram: memoryview | bytes, packet: Packet, original_dcid: bytes) -> bool:
    """Check a Retry's integrity tag (RFC 9001 §5.8), which proves that its sender saw the client's first Initial."""
    known = _VERSIONS[packet.version]
    claimed = bytes(datagram[packet.number_at : packet.end])
    bound = bytes([len(original_dcid)]) + original_dcid + bytes(datagram[packet.start : packet.number_at])
    return hmac.compare_digest(AESGCM(known.retry_key).encrypt(known.retry_nonce, b"", bound), claimed)
