"""JA3 and JA4 against published fingerprints and raw forms."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from testbed.wire import dtls, ja, tls
from tests.wire import hellos


def hello_of(text: str) -> tls.ClientHello:
    """Make a hello from JA4's raw form in original order (JA4_ro): ciphers_extensions_signatures."""
    ciphers, extensions, signatures = ([int(n, 16) for n in part.split(",") if n] for part in text.split("_"))
    return tls.ClientHello(
        0x303, "a.example", ("h2",), (0x0A0A, 0x304, 0x303), tuple(extensions), tuple(ciphers),
        signature_algorithms=tuple(signatures),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("browser", "ja4"),
    [
        # FoxIO ja4 README and technical_details/JA4.md
        ("edge101", "t13d1516h2_8daaf6152771_e5627efa2ab1"),
        # wreq-util, tls.browserleaks.com
        ("chrome131", "t13d1516h2_8daaf6152771_02713d6af862"),
        # FoxIO python/test/testdata/sigalg-grease.pcapng.json: GREASE among the signature algorithms
        ("chrome152", "t13d1517h2_8daaf6152771_cb7bf5808d99"),
        # Firefox 135 and Safari 15.5 at tls.browserleaks.com
        ("firefox135", "t13d1717h2_5b57614c22b0_3cbfd9057e0d"),
        ("safari155", "t13d2014h2_a09f3c656075_14788d8d241b"),
    ],
)
def test_browsers_have_their_published_ja4(browser: str, ja4: str) -> None:
    hello = tls.client_hello(hellos.captured(browser))
    assert hello is not None and ja.ja4(hello) == ja4


@pytest.mark.parametrize(
    ("browser", "ja3"),
    [("edge101", "cd08e31494f9531f560d64c695473da9"), ("safari155", "773906b0efdefa24a7f2b8eb6985bf37")],
)
def test_browsers_have_their_published_ja3(browser: str, ja3: str) -> None:
    hello = tls.client_hello(hellos.captured(browser))
    assert hello is not None and ja.ja3(hello) == ja3


@pytest.mark.parametrize(
    ("ciphers", "extensions", "groups", "formats", "text", "digest"),
    [
        # salesforce/ja3 README
        (
            (47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4), (0, 10, 11), (23, 24, 25), (0,),
            "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0", "ada70206e40642a3e4461f35503241d5",
        ),
        (
            (4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99), (), (), (),
            "769,4-5-10-9-100-98-3-6-19-18-99,,,", "de350869b8c85de67a350c8d186f11e6",
        ),
    ],
)  # fmt: skip
def test_published_ja3_texts(
    ciphers: tuple[int, ...], extensions: tuple[int, ...], groups: tuple[int, ...], formats: tuple[int, ...],
    text: str, digest: str,
) -> None:  # fmt: skip
    hello = tls.ClientHello(0x301, None, (), (), extensions, ciphers, groups=groups, point_formats=formats)
    assert (ja.ja3_text(hello), ja.ja3(hello)) == (text, digest)


@pytest.mark.parametrize(
    ("raw", "ja4"),
    [
        # technical_details/JA4.md, with GREASE put where a browser puts it
        (
            "0a0a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035_"
            "2a2a,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015,fafa_"
            "0403,0804,0401,0503,0805,0501,0806,0601",
            "t13d1516h2_8daaf6152771_e5627efa2ab1",
        ),
        # the same without signature algorithms: hashed without the underscore
        (
            "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035_"
            "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015_",
            "t13d1516h2_8daaf6152771_6d807ffa2a79",
        ),
        # nothing left to hash
        ("0a0a_0000,0010_", "t13d0002h2_000000000000_000000000000"),
    ],
)
def test_published_ja4_texts(raw: str, ja4: str) -> None:
    assert ja.ja4(hello_of(raw)) == ja4


@pytest.mark.parametrize(
    ("protocol", "letters"),
    [
        (b"h2", "h2"), (b"http/1.1", "h1"), (b"x", "xx"), (b"", "00"), (b"\xab", "ab"), (b"\xab\xcd", "ad"),
        (b"\x30\xab", "3b"), (b"\x30\x31\xab\xcd", "3d"), (b"\x30\xab\xcd\x31", "01"),
    ],
)  # fmt: skip
def test_the_letters_of_the_protocol(protocol: bytes, letters: str) -> None:
    hello = tls.parse_hello(hellos.message([(16, hellos.vector(2, hellos.vector(1, protocol)))]))
    assert ja.ja4(hello).split("_")[0] == f"t12i0101{letters}"


@pytest.mark.parametrize(
    ("version", "listed", "text"),
    [
        (0x303, [0xFAFA, 0x303, 0x304], "13"), (0x303, [], "12"), (0x302, [], "11"), (0x301, [], "10"),
        (0x300, [], "s3"), (0x002, [], "s2"), (0x7777, [], "00"), (0xFEFF, [], "d1"), (0xFEFD, [], "d2"),
        (0xFEFD, [0xFEFC, 0xFEFD], "d3"),
    ],
)  # fmt: skip
def test_the_version_is_the_highest_on_offer(version: int, listed: list[int], text: str) -> None:
    offer = b"".join(number.to_bytes(2, "big") for number in listed)
    extensions = [(43, hellos.vector(1, offer))] if listed else []
    hello = tls.parse_hello(hellos.message(extensions, version=version))
    assert ja.ja4(hello, "q").startswith(f"q{text}i")


def test_counts_end_at_99() -> None:
    hello = tls.parse_hello(hellos.message([(kind, b"") for kind in range(100, 250)], ciphers=range(1, 200)))
    assert ja.ja4(hello).startswith("t12i999900_")


def test_dtls_as_tshark_reads_it(tmp_path: Path) -> None:
    # The letters and counts follow FoxIO's technical_details/JA4.md; tshark is the judge of the text below them.
    extensions = [(10, b"\0\4\0\x1d\0\x17"), (11, b"\1\0"), (13, b"\0\4\4\3\x08\4"), (14, b"\0\2\0\1\0")]
    block = b"".join(kind.to_bytes(2, "big") + hellos.vector(2, content) for kind, content in extensions)
    body = b"\xfe\xfd" + bytes(32) + hellos.vector(1, b"") + hellos.vector(1, b"cookie") + b"\0\4\xc0\x2b\xc0\x2f\1\0"
    body += hellos.vector(2, block)
    size = len(body).to_bytes(3, "big")
    message = b"\1" + size + b"\0\0" + b"\0\0\0" + size + body
    datagram = b"\x16\xfe\xff" + bytes(8) + hellos.vector(2, message)
    found = dtls.client_hello([datagram])
    assert found is not None
    hello = tls.hello_of(found.version, found.session_id, found.ciphers, found.extensions)
    wrpcap(str(tmp_path / "dtls.pcap"), [Ether() / IP() / UDP(sport=40000, dport=443) / datagram])
    seen = subprocess.run(
        ["tshark", "-r", str(tmp_path / "dtls.pcap"), "-d", "udp.port==443,dtls", "-T", "fields",
         "-e", "dtls.handshake.ja3_full", "-e", "dtls.handshake.ja3"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert seen == [ja.ja3_text(hello), ja.ja3(hello)]
    assert ja.ja4_text(hello, "d") == "dd2i020400_c02b,c02f_000a,000b,000d,000e_0403,0804"
