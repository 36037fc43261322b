"""What each kind of app is told (`params` of a scenario's apps), and what it measures (the KPIs of expectations).

One place for the scenario's checks, the reference, the schema for editors, and the apps themselves. Pure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from testbed.documents import Strict
from testbed.units import Duration, Size

Kind = Literal["dns", "web", "browser", "download", "video", "messenger", "xmpp", "call", "webrtc", "command"]


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise ValueError(f"{value!r} is not a URL; write it like `https://news.example/`")
    return value


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an address; write it like `198.18.0.53`") from None


def _host(value: str) -> str:
    if not re.fullmatch(r"(?!-)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+", value):
        raise ValueError(f"{value!r} is not a server's name; write it in small letters, like `chat.example`")
    return value


def _word(value: object) -> object:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _relay(value: str) -> str:
    found = re.fullmatch(r"(udp|tcp|tls) +([0-9]{1,5})", value)
    if found is None or not 0 < int(found[2]) < 65536:
        raise ValueError(f"{value!r} is not a relay; write it like `udp 3478` or `tls 443`")
    return f"{found[1]} {int(found[2])}"


Host = Annotated[str, AfterValidator(_host)]
Relay = Annotated[str, AfterValidator(_relay)]
Url = Annotated[str, AfterValidator(_url)]
Word = Annotated[str, BeforeValidator(_word), WithJsonSchema({"type": ["string", "number"]})]
Positive = Annotated[float, Field(gt=0)]


class DnsParams(Strict):
    """One question."""

    name: str
    """The name to ask for."""
    type: Literal["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT", "HTTPS", "ANY"] = "A"
    """The record type."""
    resolver: Annotated[str, AfterValidator(_address)] | None = None
    """The resolver's address; without it the host's own."""


class WebParams(Strict):
    """A page, then its resources over at most six connections at once."""

    url: Url
    """The page."""
    address: Annotated[str, AfterValidator(_address)] | None = None
    """The page's host is contacted there and its name not asked for, as by someone who knows it."""
    resources: tuple[Url, ...] = ()
    """What the page loads once it is there."""
    status: int = Field(default=200, ge=100, le=599)
    """The page's right HTTP status; another one is a block page (`blocking: http-diff`)."""
    title: str | None = None
    """The page's right title; without it the one of the world's page, which is the host's name."""
    slow_s: Positive = 10.0
    """Seconds of load time above which the page counts as slow."""


class BrowserParams(Strict):
    """A page in a browser: what a person sees, and a picture of it. Each attempt is a new profile, without a cache."""

    url: Url
    """The page. `http://` stays so; nothing is tried by `https://` first."""
    browser: Literal["chromium", "firefox"] = "chromium"
    """Which browser it is, the machine's own."""
    address: Annotated[str, AfterValidator(_address)] | None = None
    """The page's host is contacted there and its name not asked for, as by someone who knows it."""
    tls: Annotated[Literal["1.2", "1.3"], BeforeValidator(_word)] = "1.3"
    """The newest TLS version that it speaks. With 1.3 its hello fills two packets, as every browser's since 2024 does
    (a key share of ML-KEM), and the name stands in one or the other: a censor that reads packets one by one misses it
    now and then. With 1.2 it fills one."""
    http3: bool = False
    """Whether the page is asked for by HTTP/3 over QUIC and nothing else; without it by HTTP/2 or 1.1 only."""
    status: int = Field(default=200, ge=100, le=599)
    """The page's right HTTP status; another one is a block page (`blocking: http-diff`)."""
    title: str | None = None
    """The page's right title; without it the one of the world's page, which is the host's name."""
    slow_s: Positive = 10.0
    """Seconds of load time above which the page counts as slow."""


class DownloadParams(Strict):
    """One file."""

    url: Url
    """The file; `/bytes/N` on any world host has N bytes."""
    slow_bps: Positive = 64_000.0
    """Goodput in bit/s below which the download counts as slow."""


class VideoParams(Strict):
    """Segments fetched one by one and played as they come, the rate chosen by what the last one showed."""

    url: Url
    """The server; segments are its `/bytes/N`."""
    segments: int = Field(default=3, ge=1, le=1000)
    """How many segments are watched."""
    segment_s: Positive = 4.0
    """Seconds of video in a segment."""
    rates_bps: tuple[Positive, ...] = Field(default=(100_000.0, 250_000.0, 500_000.0), min_length=1)
    """Bit rates that the server offers; the player starts with the lowest."""


class MessengerParams(Strict):
    """One message."""

    kind: Literal["text", "photo", "voice"] = "text"
    """A text goes to the profile's chat name, a photo or voice message to its media name."""
    size: Size | None = None
    """Its size; without it the profile's for that kind."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Another of the profile's ports than its first."""


class XmppParams(Strict):
    """A message over XMPP: an unmodified client (slixmpp), an unmodified server (prosody), a friend abroad."""

    server: Host = "chat.example"
    """The server's name, in the world's DNS and on its certificate."""
    kind: Literal["text", "photo"] = "text"
    """A text, or a photo that is uploaded to the server (XEP-0363) and fetched by the friend."""
    size: Size | None = None
    """Its size; without it 400 B and 60 kB."""
    tls: Literal["starttls", "direct"] = "starttls"
    """STARTTLS on port 5222, where the server's name is first said in clear, or TLS from the start on 5223."""
    port: Literal[5222, 5223] | None = None
    """Another port than the one that goes with `tls`."""
    address: Annotated[str, AfterValidator(_address)] | None = None
    """The server is contacted there and its name not asked for."""
    slow_s: Positive = 6.0
    """Seconds of delivery time above which the message counts as slow; logging in takes eight round trips of it."""


class CallParams(Strict):
    """A call of UDP media both ways."""

    lasts: Annotated[Duration, Field(gt=0)] = 5.0
    """How long people talk."""
    size: Size | None = None
    """Bytes of a media packet; without it the profile's."""
    every: Duration | None = None
    """Time between media packets; without it the profile's."""


class WebrtcParams(Strict):
    """A voice call as browsers make it (aiortc), to a friend abroad, over a TURN relay (coturn)."""

    lasts: Annotated[Duration, Field(gt=0)] = 5.0
    """How long people talk."""
    relays: tuple[Relay, ...] = Field(default=("udp 3478",), min_length=1)
    """The relays that the program knows, tried in order: `udp`, `tcp` or `tls`, and the port; one that is silent for
    5 s is dead."""
    direct: bool = False
    """Whether the ends' own addresses are offered as well; without it only the relay's, as behind strict NATs."""
    server: Host = "call.example"
    """The name of the relay, and of the server through which offer and answer cross (HTTPS, port 8443)."""


class CommandParams(Strict):
    """Any unmodified program."""

    argv: tuple[Word, ...] = Field(min_length=1)
    """The program and its arguments; no shell reads them. Status 0 is ok, any other is blocked."""


PARAMS: Mapping[str, type[Strict]] = {
    "dns": DnsParams, "web": WebParams, "browser": BrowserParams, "download": DownloadParams, "video": VideoParams,
    "messenger": MessengerParams, "xmpp": XmppParams, "call": CallParams, "webrtc": WebrtcParams,
    "command": CommandParams,
}  # fmt: skip

#: Kind of app → the world hosts where servers of its own stand; the others ask servers that anybody could ask
SERVERS: Mapping[str, frozenset[str]] = {
    "messenger": frozenset({"messenger", "media"}), "call": frozenset({"relay"}),
    "xmpp": frozenset({"tools"}), "webrtc": frozenset({"tools"}),
}  # fmt: skip

#: Kind of app → what it measures → what that is
KPIS: Mapping[str, Mapping[str, str]] = {
    "dns": {"resolve_s": "seconds until the answer"},
    "web": {
        "ttfb_s": "seconds to the page's first byte", "load_s": "seconds until the last resource is there",
        "status": "HTTP status of the page", "bytes": "bytes of all bodies",
    },
    "browser": {
        "ttfb_s": "seconds to the page's first byte", "load_s": "seconds until all of the page is there",
        "status": "HTTP status of the page", "bytes": "bytes received for it and its resources",
        "wait_s": "seconds until the page, or an error instead of it, is shown",
    },
    "download": {
        "goodput_bps": "bit/s from the first byte to the last", "ttfb_s": "seconds to the first byte",
        "total_s": "seconds to the last byte", "bytes": "bytes of the body", "status": "HTTP status",
    },
    "video": {
        "startup_s": "seconds until the first segment can be played", "rebuffers": "times the picture froze",
        "rebuffer_s": "seconds it was frozen", "bitrate_bps": "mean bit rate of the segments watched",
    },
    "messenger": {"delivery_s": "seconds until the server's receipt", "bytes": "bytes of the message"},
    "xmpp": {
        "session_s": "seconds until the client is logged in", "bytes": "bytes of the message",
        "delivery_s": "seconds until the friend's receipt, from the beginning of the connection",
    },
    "call": {
        "mos": "mean opinion score, 1 to 4.5 (ITU-T G.107)", "loss": "share of packets lost on one way",
        "delay_s": "mean one-way delay in the net", "jitter_s": "interarrival jitter (RFC 3550) of one way",
        "packets": "media packets sent",
    },
    "webrtc": {
        "mos": "mean opinion score of the worse way, 1 to 4.5 (ITU-T G.107)",
        "loss_down": "share of RTP packets lost towards the host", "loss_up": "share lost from the host",
        "delay_s": "half the round trip that RTCP told; 0 if no report came in time",
        "jitter_s": "interarrival jitter (RFC 3550) of the worse way", "packets": "RTP packets received, both ways",
        "connect_s": "seconds until media could flow, from the beginning",
    },
    "command": {"status": "exit status", "total_s": "seconds until it ended"},
}  # fmt: skip

#: OONI's failure words (github.com/ooni/spec df-007, ooni/probe-cli netxlite); `unknown_failure: …` is any other error
FAILURES = frozenset({
    "connection_aborted", "connection_refused", "connection_reset", "dns_bogon_error", "dns_no_answer",
    "dns_non_recoverable_failure", "dns_nxdomain_error", "dns_refused_error", "dns_server_misbehaving",
    "dns_servfail_error", "dns_temporary_failure", "eof_error", "generic_timeout_error", "host_unreachable",
    "network_unreachable", "ssl_failed_handshake", "ssl_invalid_certificate", "ssl_invalid_hostname",
    "ssl_unknown_authority",
})  # fmt: skip


def is_failure(word: str) -> bool:
    """Say whether an app may report this failure; a command's is `unknown_failure: exit status N`."""
    return word in FAILURES or word.startswith("unknown_failure")
