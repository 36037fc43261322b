"""The fields of a DNS message over UDP that strategies name, and Geneva's `compress`. Pure: bytes in, bytes out."""

from __future__ import annotations

HEADER_BYTES = 12
#: field → where in the message: first byte, width in bytes, shift, mask
HEADER = {
    "id": (0, 2, 0, 65535), "qr": (2, 1, 7, 1), "opcode": (2, 1, 3, 15), "aa": (2, 1, 2, 1), "tc": (2, 1, 1, 1),
    "rd": (2, 1, 0, 1), "ra": (3, 1, 7, 1), "z": (3, 1, 6, 1), "ad": (3, 1, 5, 1), "cd": (3, 1, 4, 1),
    "rcode": (3, 1, 0, 15), "qdcount": (4, 2, 0, 65535), "ancount": (6, 2, 0, 65535), "nscount": (8, 2, 0, 65535),
    "arcount": (10, 2, 0, 65535),
}  # fmt: skip
#: field of the first question → where behind its name
QUESTION = {"qtype": (0, 2, 0, 65535), "qclass": (2, 2, 0, 65535)}


def name_of(message: bytes) -> tuple[list[bytes], int] | None:
    """Return the labels of the first question's name and where it ends; None without a whole question."""
    labels, at = list[bytes](), HEADER_BYTES
    while at < len(message) and 0 < message[at] < 64:
        labels.append(message[at + 1 : at + 1 + message[at]])
        at += 1 + message[at]
    whole = at + 5 <= len(message) and message[at] == 0 and message[4:6] != b"\0\0"
    return (labels, at + 1) if whole else None


def named(message: bytes, name: str) -> bytes:
    """Return a message whose first question is for another name; `ValueError` if that is none."""
    labels = [label.encode("ascii") for label in name.removesuffix(".").split(".") if label]
    if any(len(label) > 63 for label in labels):
        raise ValueError("a label has at most 63 bytes")
    found = name_of(message)
    written = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return message if found is None else message[:HEADER_BYTES] + written + message[found[1] :]


def compressed(message: bytes) -> bytes:
    """Ask in two questions, of which the first's name goes on in the second's (Bock et al. 2019, against China)."""
    found = name_of(message)
    if found is None or not found[0]:
        return message
    (first, *rest), end = found
    beginning = bytes([len(first)]) + first
    pointer = 0xC000 | HEADER_BYTES + len(beginning) + 2 + 4
    ask = b"\0\1\0\1"
    one = beginning + pointer.to_bytes(2, "big") + ask
    other = b"".join(bytes([len(label)]) + label for label in rest) + b"\0" + ask
    return message[:4] + b"\0\2" + message[6:HEADER_BYTES] + one + other + message[end + 4 :]
