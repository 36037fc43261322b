"""The part of `test_policies` that runs inside the sandbox: `python -m tests.live.policies_inside FOLDER`.

Gives the gateway of one running country each shipped policy in turn, tries unmodified programs under it, and prints
what became of them as one JSON object; the test judges. Programs of one stage run side by side.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed import shipped
from tests.dpi.playbook import hello_bytes
from tests.live.lab import (
    ANY,
    CLOUDFLARE,
    ECHO,
    HOSTER,
    NOBODY,
    RESOLVER,
    SILENT,
    Lab,
    Program,
    curl,
    dig,
    download,
    http3,
    ping,
)
from tests.wire.hellos import from_openssl, message, names, record, records
from tests.wire.quic_flows import from_aioquic

Found = dict[str, Any]
Stage = dict[str, Program]
IMO_CALL = b"\x09\x02" + bytes(8)
JUNK = random.Random(7).randbytes(200)
SMALL_VOLUME = """policy: small-volume
title: tm-2025-volume with limits a hundred thousand times smaller, at once
extends: tm-2025-volume
rules:
  - name: volume
    match: {origin: inside, volume: {over: 200 kB, up_to: 300 kB, window: ever}}
    action: {ban: {address: server, lasts: 30 d}}
    evidence: {mark: R, source: BBS523}
"""
SITES = (
    "any.example", "twitter.com", "t.co", "www.reddit.com", "chat.imo.im", "photos.media.imo.im", "shop.example",
    "forum.example", "www.google.com", "cover.example", "www.bbc.com", "www.facebook.com", "thepiratebay.org",
    "www.allowed.example",
)  # fmt: skip
OTHER_SITES = [f"198.19.60.{number}" for number in range(1, 61)]


def _imo(lab: Lab) -> Found:
    call, other = lab.udp(ECHO, 40001, IMO_CALL, b"later"), lab.udp(ECHO, 40001, b"not a call")
    sites = {"media": curl("https://photos.media.imo.im/"), "chat": curl("https://chat.imo.im/")}
    return {"call": call, "other": other, **lab.run(sites)}


def _tm_2020(lab: Lab) -> Found:
    return lab.run({
        "cloudflare": curl("https://shop.example/", address=CLOUDFLARE), "name": curl("https://addons.mozilla.org/"),
        "other": curl("https://any.example/"), "dns": dig("www.facebook.com"),
    })  # fmt: skip


def _tm_2021(lab: Lab) -> Found:
    return lab.run({
        "dns": dig("twitter.com", "+noedns"), "edns": dig("twitter.com", "+edns=0"),
        "http": curl("http://twitter.com/"), "https": curl("https://twitter.com/"),
        "tls on 80": curl("https://twitter.com:80/"), "http on 443": curl("http://twitter.com:443/"),
    })  # fmt: skip


def _tm_2022(lab: Lab) -> Found:
    found = lab.run({
        "dns": dig("twitter.com"), "aaaa": dig("twitter.com", "AAAA"), "http": curl("http://twitter.com/"),
        "https": curl("https://twitter.com/"), "other": curl("https://any.example/"),
        "from outside": dig("twitter.com", server=NOBODY, node="web"),
        "not listed in http": curl("http://cdn.sstatic.net/"), "resolver": dig("any.example", server="198.18.0.210"),
    })  # fmt: skip
    hello = hello_bytes("twitter.com")
    found["segments"] = lab.tcp(ECHO, 443, hello[:4], hello[4:])
    found["after the reset"] = lab.tcp(ECHO, 8443, hello, b"again")
    found["stun"] = [lab.udp(ECHO, port, bytes(20))[0] for port in (3478, 3479)]
    return found


def _tm_2023(lab: Lab) -> Found:
    found = lab.run({
        "imo": curl("https://chat.imo.im/"), "imo dns": dig("chat.imo.im"),
        "cloudflare": curl("https://shop.example/", address=CLOUDFLARE),
        "hoster": curl("http://forum.example/", address=HOSTER), "other": curl("https://any.example/"),
    })  # fmt: skip
    found["stun"] = [lab.udp(ECHO, port, bytes(20))[0] for port in (3478, 3479)]
    return {**found, "call": lab.udp(ECHO, 40001, IMO_CALL)}


def _tm_2025(lab: Lab) -> Found:
    found = lab.run({
        "block": curl("https://forum.example/", address=HOSTER), "check": curl("http://www.gstatic.com/generate_204"),
        "white": curl("https://shop.example/", address="198.18.144.10"), "other": curl("https://any.example/"),
    })  # fmt: skip
    initial = from_aioquic("any.example", versions=[1], alpn=["h3"])[0]
    before = lab.run({"before fake quic": ping(SILENT)})
    lab.udp(SILENT, 443, *[initial] * 12, wait_s=0.01)
    return {**found, **before, **lab.run({"after fake quic": ping(SILENT)})}


def _small_volume(lab: Lab) -> Found:
    first = lab.run({"large": download("https://any.example/bytes/900000", seconds=2.0)})
    return {**first, **lab.run({"again": ping(ANY), "other": curl("https://any.example/", address="198.19.3.5")})}


def _shutdown(lab: Lab) -> Found:
    return lab.run({
        "https": curl("https://any.example/"), "dns": dig("any.example", server=RESOLVER), "ping": ping(ANY)
    })  # fmt: skip


def _china(lab: Lab) -> Found:
    found = lab.run({
        "dns": dig("www.google.com"), "aaaa": dig("www.google.com", "AAAA"), "http": curl("http://www.google.com/"),
        "https": curl("https://www.google.com/"), "other": curl("https://any.example/"),
        "quic": http3("https://www.google.com/", OTHER_SITES[0]),
        "quic other": http3("https://any.example/", OTHER_SITES[1]),
        "from outside": dig("www.google.com", server=NOBODY, node="web"),
    })  # fmt: skip
    hello, site = from_openssl("www.google.com"), OTHER_SITES[2:]
    found["segments"] = lab.tcp(site[0], 443, hello[:40], hello[40:])
    found["records"] = lab.tcp(site[1], 443, records(hello[5:], [40]))
    esni = record(message([(0, names((0, b"cover.example"))), (0xFFCE, bytes(100))]))
    found["both ends"] = lab.tcp(ECHO, 443, hello, b"more")
    found["esni"] = [*lab.tcp(site[2], 443, esni), *lab.tcp(site[2], 443, from_openssl("any.example"))]
    found["encrypted"] = lab.many(OTHER_SITES[10:], 443, JUNK)
    for address in OTHER_SITES[20:]:
        lab.tcp(address, 80, asking("www.google.com"))
    again = [lab.tcp(address, 80, asking("any.example"))[-1] for address in OTHER_SITES[20:]]
    return {**found, "residual": sum(not answer.startswith(b"HTTP".hex()) for answer in again)}


def asking(host: str) -> bytes:
    """A request for a host's first page."""
    return f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def _henan(lab: Lab) -> Found:
    return lab.run({
        "https": curl("https://shop.com.au/"), "http": curl("http://shop.com.au/"), "other": curl("https://any.example/"),
        "again": curl("https://any.example/"),
    })  # fmt: skip


def _iran_2020(lab: Lab) -> Found:
    found = lab.run({
        "dns": dig("www.bbc.com"), "http": curl("http://www.bbc.com/"), "https": curl("https://www.bbc.com/"),
        "other": curl("https://any.example/"),
    })  # fmt: skip
    found["junk"] = lab.tcp(ECHO, 443, b"\x9cjunk", b"more")
    found["junk elsewhere"] = lab.tcp(ECHO, 22, b"\x9cjunk", b"more")
    found["looks like http"] = lab.tcp(ECHO, 443, b"GET / HTTP", b"\x9cjunk", b"more")
    return found


def _iran_2025(lab: Lab) -> Found:
    found = lab.run({
        "https": curl("https://any.example/"), "http": curl("http://any.example/"),
        "dns": dig("any.example", server=RESOLVER),
        "quic": http3("https://any.example/", seconds=2), "ping": ping(ANY),
    })  # fmt: skip
    return {**found, "ssh": lab.tcp(ECHO, 22, b"x"), "udp": lab.udp(ECHO, 40001, b"x")}


def _russia(lab: Lab) -> Found:
    return lab.run({
        "t.co": download("https://t.co/bytes/64000", seconds=9.0),
        "over-blocked": download("https://www.reddit.com/bytes/64000", seconds=9.0),
        "other": download("https://any.example/bytes/64000"),
        "quic": http3("https://any.example/", seconds=2),
        "frozen": download("https://any.example/bytes/200000", HOSTER, 2.5),
        "not frozen": download("http://any.example/bytes/200000", HOSTER),
    })  # fmt: skip


def _kazakhstan(lab: Lab) -> Found:
    return lab.run({
        "dropped": curl("https://www.ratel.kz/"), "dropped http": curl("http://www.ratel.kz/"),
        "other": curl("https://any.example/"), "intercepted": curl("https://www.facebook.com/"),
    })  # fmt: skip


def _india(lab: Lab) -> Found:
    return lab.run({
        "page": curl("http://thepiratebay.org/"),
        "long": curl("http://thepiratebay.org/", "-H", "X-Pad: " + "x" * 1500),
        "https": curl("https://thepiratebay.org/"), "other": curl("http://any.example/"),
    })  # fmt: skip


def _allow_list(lab: Lab) -> Found:
    found = lab.run({
        "https": curl("https://www.allowed.example/"), "http": curl("http://www.allowed.example/"),
        "quic": http3("https://www.allowed.example/"), "dns": dig("www.allowed.example", server=RESOLVER),
        "other https": curl("https://any.example/"), "other http": curl("http://any.example/"),
        "other quic": http3("https://any.example/", seconds=2),
        "other dns": Program(["dig", f"@{RESOLVER}", "any.example", "+tries=1", "+time=1"]),
        "ping": ping(ANY), "ping address": ping("198.18.0.20"),
    })  # fmt: skip
    return {**found, "ssh": lab.tcp(ECHO, 22, b"x")}


def _geneva(number: int) -> Callable[[Lab], Found]:
    """Try the word from a client of its own: the kernel of a cut-off one goes on sending it for a while."""
    client = f"client{number + 3}"

    def experiment(lab: Lab) -> Found:
        word = {"word": lab.tcp(ECHO, 8443, b"ultrasurf", b"more", node=client)}
        after = curl("http://any.example/", address="198.19.3.5", node=client)
        return {**word, **lab.run({"after": after, "others": curl("http://any.example/?q=other", node="client2")})}

    return experiment


GENEVA = [name for name in shipped.names("policies") if name.startswith("geneva-")]
EXPERIMENTS: dict[str, Callable[[Lab], Found]] = {
    "open": _tm_2022, "tm-2018-imo": _imo, "tm-2018-imo-calls": _imo, "tm-2018-imo-media": _imo, "tm-2020": _tm_2020,
    "tm-2021": _tm_2021, "tm-2022": _tm_2022, "tm-2022-turkmentelecom": _tm_2022, "tm-2023-08": _tm_2023,
    "tm-2024-amnesty": _tm_2023, "tm-2024-turkmentelecom": _tm_2023, "tm-2024-mobile": _tm_2023,
    "tm-2025-volume": _tm_2025, "tm-shutdown": _shutdown, "china": _china, "henan": _henan, "iran-2020": _iran_2020,
    "iran-2025": _iran_2025, "russia": _russia, "kazakhstan-2019": _kazakhstan, "india-airtel": _india,
    "allow-list": _allow_list,
    **{name: _geneva(number) for number, name in enumerate(GENEVA)},
}  # fmt: skip


def main(folder: Path) -> None:
    """Do everything; the policies in the order of the report, each after a while without a censor."""
    small = folder / "small-volume.yaml"
    small.write_text(SMALL_VOLUME)
    plan = {**EXPERIMENTS, str(small): _small_volume}
    seen: dict[str, Found] = {}
    with Lab(folder) as lab:
        lab.warm(*(f"https://{name}/" for name in SITES))
        for policy, experiment in plan.items():
            lab.censor(policy)
            seen[Path(policy).stem] = experiment(lab)
            lab.censor("open")
        stats = lab.country.stats()["gateway"]
        died = lab.country.check_alive()
    print(json.dumps({"seen": seen, "policies": lab.policies, "stats": stats, "died": died}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
