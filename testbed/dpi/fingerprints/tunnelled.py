"""TLS inside TLS: Trojan, and VLESS or VMess over TLS without padding, by the sizes after the outer handshake.

Source: XTLS/Trojan-killer (2023-05, main.go; net4people #250), which counts bytes on the wire. From the client's packet
that begins with ChangeCipherSpec (outer TLS 1.3) up to the server's next data: 650-750 bytes, for they hold Finished
and a padded inner ClientHello of 517. Then what the server sends up to the client's next data: 170-180 bytes (an inner
handshake that is resumed) or 3,000-7,500 (an inner certificate). Inner hellos with post-quantum keys are longer and
pass it, as they pass the original. It needs a longer opening than other fingerprints: see `packets_wanted`. It is a
heuristic with known false alarms.
"""

from __future__ import annotations

from testbed.dpi.fingerprints.opening import Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer

PACKETS = 24
_CHANGE_CIPHER_SPEC = bytes.fromhex("140303000101")
_SENT = range(650, 751)
_ANSWERED = (range(170, 181), range(3000, 7501))


def tls_in_tls(opening: Opening) -> Answer:
    """Recognise an inner handshake by the bytes sent and answered right after the outer one."""
    if opening.client_bytes[:1] != b"\x16":
        return None
    sending, sent, answered = False, 0, 0
    for packet in opening.packets:
        if packet.from_client:
            if answered:
                return _judge(sent, answered)
            sending = sending or packet.payload.startswith(_CHANGE_CIPHER_SPEC)
            sent += packet.length if sending else 0
        elif sent:
            answered += packet.length
    return UNDECIDED if sent <= _SENT[-1] and answered <= _ANSWERED[-1][-1] else None


def _judge(sent: int, answered: int) -> Answer:
    if sent not in _SENT or not any(answered in sizes for sizes in _ANSWERED):
        return None
    return {"sent": sent, "answered": answered}
