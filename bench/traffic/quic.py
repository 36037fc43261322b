"""A QUIC v1 Initial with a ClientHello, protected as RFC 9001 §5 says."""

from __future__ import annotations

import struct
from random import Random

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from traffic.tls import handshake

_SALT = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
_PAYLOAD_BYTES = 1162


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    info = struct.pack("!HB", length, len(label) + 6) + b"tls13 " + label + b"\0"
    return HKDFExpand(SHA256(), length, info).derive(secret)


def initial(name: str, chance: Random) -> bytes:
    """The client's first datagram, 1,200 bytes and a few."""
    dcid = chance.randbytes(8)
    hmac = HMAC(_SALT, SHA256())
    hmac.update(dcid)
    secret = _expand(hmac.finalize(), b"client in", 32)
    key, iv, hp = _expand(secret, b"quic key", 16), _expand(secret, b"quic iv", 12), _expand(secret, b"quic hp", 16)
    parameters = b"\x01\x04\x80\x00\x75\x30\x0f\x00"
    hello = handshake(name, chance, alpn=b"\x02h3", more=struct.pack("!HH", 57, len(parameters)) + parameters)
    frames = b"\x06\x00" + struct.pack("!H", 0x4000 | len(hello)) + hello
    frames += bytes(_PAYLOAD_BYTES - len(frames))
    number = b"\0\0"
    head = b"\xc1\0\0\0\1\x08" + dcid + b"\0\0" + struct.pack("!H", 0x4000 | len(frames) + 18) + number
    sealed = AESGCM(key).encrypt(iv, frames, head)
    mask = Cipher(algorithms.AES(hp), modes.ECB()).encryptor().update(sealed[2:18])
    first = bytes((head[0] ^ mask[0] & 0x0F,))
    return first + head[1:-2] + bytes(a ^ b for a, b in zip(number, mask[1:3], strict=True)) + sealed
