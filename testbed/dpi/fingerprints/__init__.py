"""Fingerprints: which protocol a flow speaks, told from the content of its first packets, whatever its port.

Theory of operation
  - An `Opening` keeps the first packets of a flow. A recogniser is a stateless function of it that gives evidence
    (which bytes and sizes), None (it is not, and no later packet changes that), or UNDECIDED (show me more).
  - `look` asks the recognisers that are wanted, in the order of `FINGERPRINTS`, and returns the first that fits. It
    picks them by transport and first bytes from a table, so a flow that concerns no wanted one costs a look-up.
  - Labels overlap by design: Tor is TLS. The special one stands before the general one that is its `kind`, and a rule
    that asks for `tls` gets Tor too. A general one may fit earlier (a WebRTC flow is `stun` at its first packet,
    `snowflake` at its hello), so ask for what a rule wants, not for all, where the difference matters.

Order, and why
  1. Fixed marks of many bits: handshakes of VPNs, magic cookies, text. Nothing else can look like them.
  2. Special cases before their kind: tor, signal, tls-in-tls before tls; http-connect, bittorrent before http;
     whatsapp, telegram and turn before stun; snowflake, anyconnect before dtls; dns-tunnel before dns.
  3. Flow statistics over several packets: rtp, esp-in-udp, icmp-tunnel.
  4. Weak signatures: viber and imo, which take few bytes.
  5. What has no structure: fully-encrypted, random-udp. They come last, since they say only what a flow is not.

What content can't tell: Shadowsocks, VMess, obfs4, MTProto's obfuscated transport, encrypted BitTorrent and static-key
OpenVPN from each other (all random), Trojan from HTTPS but by sizes, and an Amnezia-style VPN from noise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

from testbed.dpi.fingerprints import (
    bittorrent,
    dns,
    dtls,
    fastd,
    icmp,
    ipsec,
    messengers,
    noise,
    openvpn,
    ppp,
    proxies,
    remote,
    rtp,
    ssh,
    stun,
    tor,
    tunnelled,
    web,
    wireguard,
)  # fmt: skip
from testbed.dpi.fingerprints.opening import ICMP, ICMPV6, MOST_PACKETS, TCP, UDP, Opening, Shown
from testbed.dpi.fingerprints.recogniser import (
    UNDECIDED,
    Answer,
    Evidence,
    Fingerprint,
    Recogniser,
    Undecided,
    starting,
)  # fmt: skip

__all__ = [
    "FINGERPRINTS", "PROTOCOLS", "UNDECIDED", "Answer", "Evidence", "Finding", "Fingerprint", "Opening", "Recogniser",
    "Shown", "Undecided", "look", "packets_wanted", "recognise", "undecided",
]  # fmt: skip

_STREAM, _DATAGRAM, _BOTH, _ECHO = (TCP,), (UDP,), (TCP, UDP), (ICMP, ICMPV6)
_LETTERS = starting(range(0x41, 0x5B))
_STUN, _DTLS, _RTP = starting(range(0x40)), starting(range(20, 64)), starting(range(0x80, 0xC0))
_TLS = starting(0x16)

FINGERPRINTS: tuple[Fingerprint, ...] = (
    Fingerprint("wireguard", wireguard.wireguard, _DATAGRAM, starting(1, 2, 3, 4), later=True),
    Fingerprint("openvpn", openvpn.openvpn, _BOTH, stream_starts=starting(range(6))),
    Fingerprint("pptp", ppp.pptp, _STREAM, starting(0)),
    Fingerprint("l2tp", ppp.l2tp, _DATAGRAM, starting(0xC8)),
    Fingerprint("ike", ipsec.ike, _BOTH, stream_starts=starting("I")),
    Fingerprint("fastd", fastd.fastd, _DATAGRAM, starting(1)),
    Fingerprint("ssh", ssh.ssh, _STREAM, starting("S")),
    Fingerprint("socks5", proxies.socks5, _STREAM, starting(5)),
    Fingerprint("socks4", proxies.socks4, _STREAM, starting(4)),
    Fingerprint("rdp", remote.rdp, _STREAM, starting(3)),
    Fingerprint("smb", remote.smb, _STREAM, starting(0)),
    Fingerprint("iodine-raw", dns.iodine_raw, _DATAGRAM, starting(0x10), later=True),
    Fingerprint("bittorrent", bittorrent.bittorrent, _BOTH, starting(0, 1, 0x13, 0x41, "BGd")),
    Fingerprint("http-connect", proxies.http_connect, _STREAM, starting("C"), kind="http"),
    Fingerprint("http", web.http, _STREAM, _LETTERS),
    Fingerprint("tor", tor.tor, _STREAM, _TLS, kind="tls"),
    Fingerprint("signal", messengers.signal, _STREAM, _TLS, kind="tls"),
    Fingerprint("tls-in-tls", tunnelled.tls_in_tls, _STREAM, _TLS, kind="tls"),
    Fingerprint("tls", web.tls, _STREAM, _TLS),
    Fingerprint("snowflake", dtls.snowflake, _DATAGRAM, _STUN, later=True, kind="dtls"),
    Fingerprint("anyconnect", dtls.anyconnect, _DATAGRAM, _DTLS, kind="dtls"),
    Fingerprint("dtls", dtls.dtls, _DATAGRAM, _DTLS, later=True),
    Fingerprint("whatsapp", messengers.whatsapp, _BOTH, _STUN | starting("EW")),
    Fingerprint("telegram", messengers.telegram, _BOTH, later=True),
    Fingerprint("turn", stun.turn, _BOTH, starting(range(0x50)), kind="stun"),
    Fingerprint("stun", stun.stun, _BOTH, _STUN, later=True),
    Fingerprint("quic", web.quic, _DATAGRAM),
    Fingerprint("dns-tunnel", dns.dns_tunnel, _DATAGRAM, kind="dns"),
    Fingerprint("dns", dns.dns, _BOTH),
    Fingerprint("icmp-tunnel", icmp.icmp_tunnel, _ECHO),
    Fingerprint("rtcp", rtp.rtcp, _DATAGRAM, _RTP, later=True),
    Fingerprint("rtp", rtp.rtp, _DATAGRAM, _RTP, later=True),
    Fingerprint("esp-in-udp", ipsec.esp_in_udp, _DATAGRAM, later=True),
    Fingerprint("viber", messengers.viber, _BOTH),
    Fingerprint("imo", messengers.imo, _DATAGRAM),
    Fingerprint("fully-encrypted", noise.fully_encrypted, _STREAM),
    Fingerprint("random-udp", noise.random_udp, _DATAGRAM),
)

PROTOCOLS: Mapping[str, Recogniser] = MappingProxyType({one.name: one.recognise for one in FINGERPRINTS})
"""Name → recogniser, in the order in which they are asked."""

_MOST_TABLE_ENTRIES = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """A protocol and what it was recognised by: JSON values, bytes as hex."""

    protocol: str
    evidence: Mapping[str, Any]


class _Plan:
    """The wanted fingerprints, looked up by transport and first bytes."""

    def __init__(self, wanted: Collection[str] | None) -> None:
        unknown = sorted(set(wanted or ()) - set(PROTOCOLS))
        if unknown:
            raise ValueError(f"no such fingerprint: {', '.join(unknown)}; there are {', '.join(PROTOCOLS)}")
        chosen = [one for one in FINGERPRINTS if wanted is None or one.name in wanted]
        self._over = {proto: [one for one in chosen if proto in one.over] for proto in (TCP, UDP, ICMP, ICMPV6)}
        self.later = {UDP} if any(one.later and UDP in one.over for one in chosen) else set()
        self._table: dict[tuple[int, int], tuple[Fingerprint, ...]] = {}

    def candidates(self, proto: int, starts: int) -> tuple[Fingerprint, ...]:
        """Return the fingerprints that a flow with such first bytes may have."""
        found = self._table.get((proto, starts))
        if found is None:
            found = tuple(one for one in self._over.get(proto, ()) if one.may_start(proto, starts))
            if len(self._table) < _MOST_TABLE_ENTRIES:
                self._table[proto, starts] = found
        return found


@lru_cache(maxsize=256)
def _plan(wanted: frozenset[str] | None) -> _Plan:
    return _Plan(wanted)


def look(opening: Opening, wanted: Collection[str] | None = None) -> Finding | Literal[Undecided.UNDECIDED] | None:
    """Return the first protocol that fits, UNDECIDED if a later packet may still make one fit, or None.

    `wanted` names protocols (None: all); a frozenset is fastest. An unknown name is a `ValueError`.
    """
    plan = _plan(wanted if wanted is None or isinstance(wanted, frozenset) else frozenset(wanted))
    waiting = not opening.packets or opening.proto in plan.later
    for one in plan.candidates(opening.proto, opening.starts):
        answer = one.recognise(opening)
        if answer is None:
            continue
        if answer is not UNDECIDED:
            return Finding(one.name, answer)
        waiting = True
    return UNDECIDED if waiting and not opening.full else None


def recognise(opening: Opening, wanted: Collection[str] | None = None) -> Finding | None:
    """Return the first protocol that fits, None if none does (yet)."""
    found = look(opening, wanted)
    return None if found is UNDECIDED else found


def undecided(opening: Opening, wanted: Collection[str] | None = None) -> bool:
    """Say whether a later packet may still make a wanted protocol fit that doesn't fit now."""
    return look(opening, wanted) is UNDECIDED


def packets_wanted(wanted: Collection[str] | None = None) -> int:
    """Return how many packets an opening should keep for these protocols (`Opening(most=…)`)."""
    return max(MOST_PACKETS, tunnelled.PACKETS) if wanted is None or "tls-in-tls" in wanted else MOST_PACKETS
