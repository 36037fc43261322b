"""First packets of games, mail, data bases, chat and network services: none of them has a label.

Written after their specifications (named in the ids); where Scapy knows a protocol, Scapy writes it.
"""

from __future__ import annotations

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.netbios import NBNSHeader, NBNSQueryRequest
from scapy.layers.ntp import NTPHeader
from scapy.layers.radius import Radius
from scapy.layers.rip import RIP, RIPEntry
from scapy.layers.snmp import SNMP, SNMPget, SNMPvarbind
from scapy.layers.tftp import TFTP, TFTP_RRQ
from scapy.layers.vxlan import VXLAN

from testbed.dpi.fingerprints import Opening, recognise
from testbed.dpi.fingerprints.opening import TCP, UDP
from tests.dpi.fingerprints.flows import conversation

RAKNET_MAGIC = bytes.fromhex("00ffff00fefefefefdfdfdfd12345678")
OVER_UDP = {
    "ntp client": [bytes(NTPHeader(version=version)) for version in (3, 4)],
    "ntp server": [bytes(NTPHeader(version=4, mode=4, stratum=2))] * 12,
    "dhcp discover": [bytes(BOOTP() / DHCP(options=[("message-type", "discover"), "end"]))] * 4,
    "snmp get": [bytes(SNMP(PDU=SNMPget(id=n, varbindlist=[SNMPvarbind(oid="1.3.6.1")]))) for n in range(300, 312)],
    "radius": [bytes(Radius(id=n, authenticator=bytes(range(n, n + 16)))) for n in range(12)],
    "rip": [bytes(RIP(cmd=2) / RIPEntry(addr="198.18.0.0", mask="255.255.0.0"))] * 12,
    "tftp": [bytes(TFTP() / TFTP_RRQ(filename="pxelinux.0"))],
    "netbios name": [bytes(NBNSHeader() / NBNSQueryRequest(QUESTION_NAME="WORKGROUP"))] * 3,
    "vxlan": [bytes(VXLAN(vni=42, flags=8)) + bytes(60)] * 12,
    "ssdp": [b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\n\r\n'] * 3,
    "sip": [b"INVITE sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 198.18.0.9\r\n\r\n"],
    "sip keepalive": [b"\r\n\r\n"] * 12,
    "syslog": [b"<34>Oct 11 22:14:15 host su: 'su root' failed"] * 12,
    "coap": [bytes.fromhex("4001") + bytes([0, n]) + b"\xbb.well-known\x04core" for n in range(12)],
    "gtp-u": [bytes.fromhex("30ff0030") + bytes.fromhex("00000001") + b"\x45" + bytes(47)] * 12,
    "source engine query": [b"\xff\xff\xff\xffTSource Engine Query\0"] * 3,
    "quake 3 status": [b"\xff\xff\xff\xffgetstatus"] * 3,
    "quake 3 game": [n.to_bytes(4, "little") + bytes(40 + n) for n in range(1, 13)],
    "raknet ping": [b"\x01" + bytes(8) + RAKNET_MAGIC + bytes(8)] * 12,
    "raknet open": [b"\x05" + RAKNET_MAGIC + b"\x0b" + bytes(1400)] * 3,
    "enet": [bytes.fromhex("8fff") + bytes([0, n]) + bytes.fromhex("82ff0001") + bytes(40) for n in range(12)],
    "teamspeak 3": [b"TS3INIT1\0\x65\0\0\x88\x02\xfd\x66\xd3\0" + bytes(20)] * 3,
    "mumble ping": [bytes(4) + bytes(range(n, n + 8)) for n in range(12)],
    "text": [b"hello from a chat program, message number %d" % n for n in range(12)],
    "zeros": [bytes(size) for size in (5, 20, 48, 64, 92, 148, 300, 1200)],
    "ones": [b"\xff" * size for size in (5, 20, 48, 64, 92, 148, 300, 1200)],
    "counter": [n.to_bytes(2, "big") + bytes(range(200)) for n in range(12)],
}
OVER_TCP = {
    "smtp": [("<", b"220 mail.example.org ESMTP\r\n"), (">", b"EHLO client.example.org\r\n")],
    "ftp": [("<", b"220 ready\r\n"), (">", b"USER anonymous\r\n")],
    "imap": [("<", b"* OK IMAP4rev1\r\n"), (">", b"a1 LOGIN bob secret\r\n")],
    "pop3": [("<", b"+OK ready\r\n"), (">", b"USER bob\r\n")],
    "irc": [(">", b"NICK bob\r\nUSER bob 0 * :Bob\r\n")],
    "xmpp": [(">", b"<?xml version='1.0'?><stream:stream to='example.org' xmlns='jabber:client'>")],
    "redis": [(">", b"*1\r\n$4\r\nPING\r\n"), ("<", b"+PONG\r\n")],
    "rtsp": [(">", b"OPTIONS rtsp://198.18.0.2/live RTSP/1.0\r\nCSeq: 1\r\n\r\n"), ("<", b"RTSP/1.0 200 OK\r\n\r\n")],
    "postgresql": [(">", bytes.fromhex("0000000804d2162f")), ("<", b"N"), (">", b"\0\0\0\x20\0\3\0\0user\0bob\0\0")],
    "mysql": [("<", b"\x4a\0\0\0\x0a8.0.36\0" + bytes(60)), (">", b"\x20\0\0\1\x85\xa6\x0f\x20" + bytes(28))],
    "mqtt": [(">", bytes.fromhex("101000044d5154540402003c0004746573740a"))],
    "ldap bind": [
        (">", bytes.fromhex("300c020101600702010304008000")),
        ("<", bytes.fromhex("300c02010161070a010004000400")),
    ],
    "kerberos": [(">", bytes.fromhex("000000806a7e307ca103020105a20302010a") + bytes(110))],
    "modbus": [(">", bytes.fromhex("000100000006010300000001")), ("<", bytes.fromhex("0001000000050103020000"))],
    "bgp open": [(">", b"\xff" * 16 + bytes.fromhex("001d0104fde800b4c6120001") + b"\0")],
    "minecraft": [(">", b"\x10\0\xff\x05\x09localhost\x63\xdd\x01\x01\0"), ("<", b'\x10\0\x0e{"version":1}')],
    "git": [(">", b"0033git-upload-pack /project.git\0host=example.org\0")],
    "bitcoin": [(">", bytes.fromhex("f9beb4d9") + b"version\0\0\0\0\0" + bytes(90))],
    "vnc": [("<", b"RFB 003.008\n"), (">", b"RFB 003.008\n")],
    "telnet": [("<", bytes.fromhex("fffd18fffd20fffd23fffd27")), (">", bytes.fromhex("fffb18fffc20fffc23fffb27"))],
}


def labels(opening: Opening) -> str | None:
    found = recognise(opening)
    return None if found is None else found.protocol


@pytest.mark.parametrize("name", OVER_UDP)
@pytest.mark.parametrize("port", [53, 443, 4500, 5353, 40001])
def test_datagrams_of_others_have_no_label(name: str, port: int) -> None:
    asked = conversation(UDP, *((">", payload) for payload in OVER_UDP[name]), port=port)
    assert labels(asked) is None
    both = conversation(UDP, *(("><"[n % 2], payload) for n, payload in enumerate(OVER_UDP[name])), port=port)
    assert labels(both) is None


@pytest.mark.parametrize("name", OVER_TCP)
@pytest.mark.parametrize("port", [22, 443, 4244, 40001])
def test_streams_of_others_have_no_label(name: str, port: int) -> None:
    flow = conversation(TCP, *OVER_TCP[name], port=port)
    assert labels(flow) is None
