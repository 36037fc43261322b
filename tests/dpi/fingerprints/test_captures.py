"""Captures of real programs: each flow has its label, and no recogniser takes it for anything else.

`tests/data/captures/README.md` says how each was made. The table is the whole confusion matrix: what isn't in a row
must not be recognised in any flow of that capture.
"""

from __future__ import annotations

import random

import pytest

from testbed.dpi.fingerprints import FINGERPRINTS, PROTOCOLS, UNDECIDED, Opening, recognise, undecided
from testbed.dpi.fingerprints.opening import UDP
from tests.dpi.fingerprints.flows import CAPTURES, of_capture

#: capture → the label of each of its flows, then what else may be said of them
LABELS: dict[str, tuple[tuple[str | None, ...], frozenset[str]]] = {
    name: (tuple(labels), frozenset(also))
    for name, labels, also in (
        ("wireguard", ["wireguard"], []),
        ("openvpn-udp", ["openvpn"], []),
        ("openvpn-tcp-443", ["openvpn"], []),
        ("openvpn-tls-auth", ["openvpn"], []),
        ("openvpn-tls-auth-sha512", ["openvpn"], []),
        ("openvpn-tls-crypt", ["openvpn"], []),
        ("openvpn-tls-crypt-tcp", ["openvpn"], ["fully-encrypted"]),
        ("openvpn-tls-crypt-v2", ["openvpn"], []),
        ("openvpn-tls-crypt-v2-tcp", ["openvpn"], ["fully-encrypted"]),
        ("openvpn-late-aead", ["openvpn"], []),
        ("openvpn-late-aead-tcp", ["openvpn"], ["fully-encrypted"]),
        ("openvpn-late-cbc", ["openvpn"], []),
        ("openvpn-static-key", ["random-udp"], []),
        ("ikev1", ["ike", "ike"], ["esp-in-udp"]),
        ("ikev2", ["ike", "ike"], []),
        ("l2tp", ["l2tp"], []),
        ("pptp", ["pptp"], []),
        ("fastd", ["fastd"], []),
        ("ssh", ["ssh"], []),
        ("socks4", ["socks4"], []),
        ("socks4a", ["socks4"], []),
        ("socks5", ["socks5"], []),
        ("socks5-name", ["socks5"], []),
        ("socks5-password", ["socks5"], []),
        ("http-connect", ["http-connect"], []),
        ("http-proxy", ["http"], []),
        ("http", ["http"], []),
        ("tls-curl", ["tls"], []),
        ("tls-openssl", ["tls"], []),
        ("ping", [None], []),
        ("ptunnel", ["icmp-tunnel"], []),
        ("ptunnel-ng", ["icmp-tunnel"], []),
        ("dns", ["dns"] * 4, []),
        ("dns-tcp", ["dns"], []),
        ("dns-one-socket", ["dns"], []),
        ("iodine-raw", ["iodine-raw"], ["dns", "dns-tunnel"]),
        ("iodine-null", ["dns-tunnel"], []),
        ("iodine-txt", ["dns-tunnel"], []),
        ("iodine-cname", ["dns-tunnel"], []),
        ("dns2tcp", ["dns-tunnel"], []),
        ("ntp", [None], []),
        ("stun", ["stun"], []),
        ("turn", ["turn"] * 3, []),
        ("turn-tcp", ["turn"] * 2, []),
        ("tor", ["tor"], []),
        ("shadowsocks", ["fully-encrypted"] * 2, []),
        ("obfs4", ["fully-encrypted"], []),
        ("kcptun", ["random-udp"], []),
        ("vmess-tcp", ["fully-encrypted"] * 2, []),
        ("vmess-websocket", ["http"] * 2, []),
        ("anyconnect", ["tls", "anyconnect"], []),
        ("dtls-openssl", ["dtls"], []),
        ("webrtc-aiortc", ["dtls"], ["stun"]),
        ("snowflake", ["snowflake"], ["stun"]),
        ("quic", ["quic"], []),
        ("sip", [None], []),
        ("bittorrent-tcp", ["bittorrent"], []),
        ("bittorrent-utp", ["bittorrent"], []),
        ("bittorrent-encrypted", ["fully-encrypted"], []),
        ("telegram-abridged", ["telegram"], []),
        ("telegram-intermediate", ["telegram"], []),
        ("trojan", ["tls", "tls-in-tls", "tls"], []),
        ("telegram-obfuscated", ["fully-encrypted"], []),
    )
}
KINDS = {one.name: one.kind for one in FINGERPRINTS}
BY_NAME = {one.name: one for one in FINGERPRINTS}


def with_kinds(labels: set[str]) -> set[str]:
    return labels | {kind for label in labels if (kind := KINDS[label]) is not None}


def test_every_capture_is_in_the_table() -> None:
    assert {path.stem for path in CAPTURES.glob("*.pcap")} == set(LABELS)


@pytest.mark.parametrize("name", LABELS)
def test_each_flow_has_its_label(name: str) -> None:
    found = [recognise(opening) for opening in of_capture(CAPTURES / f"{name}.pcap")]
    assert tuple(finding and finding.protocol for finding in found) == LABELS[name][0]


@pytest.mark.parametrize("name", LABELS)
def test_no_recogniser_takes_a_flow_for_another(name: str) -> None:
    labels, also = LABELS[name]
    allowed = with_kinds({label for label in labels if label is not None}) | also
    for whole in of_capture(CAPTURES / f"{name}.pcap"):
        opening = Opening(whole.proto, whole.client_port, whole.server_port, most=whole.most)
        for packet in whole.packets:  # an engine asks at each
            opening.show(packet.from_client, packet.payload, packet.at, packet.length)
            for one in FINGERPRINTS:
                if opening.proto in one.over and one.name not in allowed:
                    assert one.recognise(opening) in (None, UNDECIDED), one.name


DATAGRAMS = [
    name
    for name, (labels, _) in LABELS.items()
    if name not in ("dns", "ping", "ptunnel", "ptunnel-ng", "anyconnect")
    and any(label and UDP in BY_NAME[label].over for label in labels)
    and next(of_capture(CAPTURES / f"{name}.pcap")).proto == UDP
]


@pytest.mark.parametrize("name", DATAGRAMS)
@pytest.mark.parametrize("fault", ["twice", "swapped"])
def test_a_datagram_twice_or_late_hides_nothing(name: str, fault: str) -> None:
    """But for the first, which says who the client is."""
    whole = next(of_capture(CAPTURES / f"{name}.pcap"))
    for at in range(1, min(len(whole.packets) - 1, 8)):
        packets = list(whole.packets)
        packets[at : at + 2] = (
            [packets[at + 1], packets[at]] if fault == "swapped" else [packets[at], *packets[at : at + 2]]
        )
        opening = Opening(UDP, whole.client_port, whole.server_port)
        found = set()
        for packet in packets:
            opening.show(packet.from_client, packet.payload, packet.at, packet.length)
            found |= {one.protocol for label in LABELS[name][0] if label and (one := recognise(opening, {label}))}
        assert found & set(LABELS[name][0]), (name, at)


@pytest.mark.parametrize("name", LABELS)
def test_a_label_is_not_given_up_before_it_comes(name: str) -> None:
    """Packet by packet, a flow stays undecided until its label is found: an engine may stop looking when it isn't."""
    for opening, label in zip(of_capture(CAPTURES / f"{name}.pcap"), LABELS[name][0], strict=True):
        if label is None:
            continue
        wanted = frozenset({label})
        growing = Opening(opening.proto, opening.client_port, opening.server_port)
        assert undecided(growing, wanted)
        for packet in opening.packets:
            growing.show(packet.from_client, packet.payload, packet.at)
            if recognise(growing, wanted) is not None:
                break
            assert undecided(growing, wanted)
        else:
            pytest.fail(f"{label} was never found")


@pytest.mark.parametrize("name", LABELS)
def test_a_capture_cut_short_is_never_another_protocol(name: str) -> None:
    """Payloads cut anywhere: labels may be lost, never exchanged (a prefix of noise is noise, or looks like none)."""
    source = random.Random(name)
    labels, also = LABELS[name]
    allowed = with_kinds({label for label in labels if label is not None}) | also | {"fully-encrypted", "random-udp"}
    for opening in of_capture(CAPTURES / f"{name}.pcap"):
        for _ in range(20):
            cut = Opening(opening.proto, opening.client_port, opening.server_port)
            for packet in opening.packets:
                size = source.randrange(min(2, len(packet.payload)), len(packet.payload) + 1)
                cut.show(packet.from_client, packet.payload[:size], packet.at)
            for protocol, recogniser in PROTOCOLS.items():
                entry = next(one for one in FINGERPRINTS if one.name == protocol)
                if opening.proto in entry.over and protocol not in allowed:
                    assert recogniser(cut) in (None, UNDECIDED), protocol
