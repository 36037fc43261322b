"""What a censor does about a packet it has matched. Specifications only, checked and frozen.

One action a rule. Lengths of time are asked for as fixed values with a `spread`: the time drawn lies between `after`
and `after + spread`, uniformly, by the engine's seed.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from testbed.documents import Strict
from testbed.dpi.match import Hex
from testbed.units import Duration, Fraction, Rate, Size

To = Literal["sender", "peer", "both", "client", "server"]
RCODES = {"noerror": 0, "formerr": 1, "servfail": 2, "nxdomain": 3, "notimp": 4, "refused": 5}


_EXAMPLES = {4: "127.0.0.1", 6: "::1"}


def _address(version: int) -> AfterValidator:
    def check(text: str) -> str:
        try:
            if ipaddress.ip_address(text).version == version:
                return text
        except ValueError:
            pass
        raise ValueError(f"{text!r} is not an IPv{version} address; write one like {_EXAMPLES[version]}")

    return AfterValidator(check)


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _name(text: str) -> str:
    """Return a name in its `xn--` form."""
    try:
        name = (text if text.isascii() else text.encode("idna").decode()).removesuffix(".")
    except UnicodeError:
        name = ""
    if len(name) > 253 or not all(0 < len(label) < 64 for label in name.split(".")):
        raise ValueError(f"{text[:80]!r} is not a name; write one like `blocked.example`")
    return name


def _ttl(value_s: float) -> float:
    if value_s >= 1 << 31:
        raise ValueError("a time to live has 31 bits; write `24855 d` or less")
    return value_s


def _line(text: str) -> str:
    if re.search(r"[\r\n\0]", text):
        raise ValueError("a line of a response has no line breaks; write it as one")
    return text


def _header(text: str) -> str:
    if re.match("[!#$%&'*+.^_`|~0-9A-Za-z-]+:", _line(text)) is None:
        raise ValueError(f"{text[:80]!r} is not a header line; write it like `Name: value`")
    return text


Line = Annotated[str, AfterValidator(_line)]
Addresses4 = Annotated[tuple[Annotated[str, _address(4)], ...], BeforeValidator(_listed)]
Addresses6 = Annotated[tuple[Annotated[str, _address(6)], ...], BeforeValidator(_listed)]


class Late(Strict):
    """When an injected packet leaves, counted from the offending one."""

    after: Duration = 0.0
    """Seconds after the offending packet, at least."""
    spread: Duration = 0.0
    """At most so much later, drawn by the seed."""


class Reset(Late):
    """Forged TCP segments that end a connection.

    `to`: the sender of the offending packet, its peer, both, or one end by its part in the flow.
    """

    to: To = "sender"
    count: int = Field(default=1, ge=1, le=16)
    flags: Literal["R", "RA", "F", "FA"] = "R"
    window: int = Field(default=0, ge=0, le=65535)
    window_step: int = Field(default=0, ge=0, le=4096)
    """Added to the window from one copy to the next (China's rise: net4people #285)."""
    ttl_step: int = Field(default=0, ge=0, le=64)
    """Added to the TTL from one copy to the next."""
    seq_offsets: tuple[int, ...] = (0,)
    """Added to the sequence number; each copy is sent once for each."""
    payload_bytes: int = Field(default=0, ge=0, le=1000)
    """Zero bytes carried (Henan 10, Tajikistan 22)."""
    payload: Hex = ""
    """Bytes carried, in hexadecimal."""

    @model_validator(mode="after")
    def _has_a_form(self) -> Reset:
        if self.payload and self.payload_bytes:
            raise ValueError("two payloads; give `payload` or `payload_bytes`")
        if not self.seq_offsets or any(abs(offset) >= 1 << 32 for offset in self.seq_offsets):
            raise ValueError("`seq_offsets` of 32 bits, one at least; write them like `[0, 1460]`")
        return self


class Unreachable(Late):
    """An ICMP error that quotes the offending packet (RFC 792, RFC 4443)."""

    to: Literal["sender", "peer", "both"] = "sender"
    """Who gets it: the sender of the offending packet, its peer, or both."""
    code: Literal["net", "host", "port", "prohibited"] = "prohibited"
    """What is said to be unreachable; `prohibited`: communication administratively prohibited."""


class DnsAnswer(Late):
    """A forged answer. Without an address, a name or an `rcode` it is A 127.0.0.1, with `rcode: noerror` alone an
    empty NOERROR.

    Several addresses are a pool, one drawn for each answer. `malformed_edns`: the bug of 2021, which appends the
    record behind an EDNS query's OPT (facts/turkmenistan.md §1).
    """

    a: Addresses4 = ()
    aaaa: Addresses6 = ()
    """The forged IPv6 address, or a pool; what an AAAA question gets."""
    cname: Annotated[str, AfterValidator(_name)] | None = None
    """A name that the answer points to instead of an address."""
    rcode: Literal["noerror", "formerr", "servfail", "nxdomain", "notimp", "refused"] = "noerror"
    """The response code; with any but `noerror` there is no record."""
    ttl: Annotated[Duration, AfterValidator(_ttl)] = 300.0
    count: int = Field(default=1, ge=1, le=8)
    """Answers sent, each with its own draw from the pool (China has three injectors in parallel)."""
    authoritative: bool = False
    """Whether the answer claims to be authoritative (AA)."""
    other_types: Literal["a", "empty", "pass"] = "a"
    """What a question of a type we have no record for gets: the A record all the same (I, facts §1), none, silence."""
    drop_query: bool = False
    """The question goes no further, so no true answer comes; in-path only."""
    malformed_edns: bool = False

    @model_validator(mode="before")
    @classmethod
    def _default(cls, value: Any) -> Any:
        if isinstance(value, dict) and not {"a", "aaaa", "cname", "rcode"} & set(value):
            return {**value, "a": ("127.0.0.1",)}
        return value


class BlockPage(Late):
    """A forged HTTP response that ends the connection; with `location` a redirect."""

    status: int = Field(default=403, ge=100, le=599)
    reason: Line = "Forbidden"
    """The reason phrase behind the status."""
    headers: tuple[Annotated[str, AfterValidator(_header)], ...] = ()
    """Further header lines, `Name: value`."""
    location: Line | None = None
    """Where a redirect leads; sets the status to 302 unless another is given."""
    body: str = "<html><body><h1>Access denied</h1></body></html>\n"
    rst_peer: bool = False
    """The server's end is reset, so that its own answer doesn't follow."""

    @model_validator(mode="before")
    @classmethod
    def _redirect(cls, value: Any) -> Any:
        if isinstance(value, dict) and "location" in value:
            return {"status": 302, "reason": "Found", "body": "", **value}
        return value


class TlsAlert(Late):
    """A forged fatal alert of the server (RFC 8446 §6), in clear, before the handshake is done; ends the connection."""

    description: int = Field(default=112, ge=0, le=255)
    """40 handshake_failure, 49 access_denied, 112 unrecognized_name."""


class Throttle(Strict):
    """A ceiling: `police` drops what exceeds it, `shape` delays it. One bucket a flow, a name or an inside host."""

    rate: Annotated[Rate, Field(gt=0)]
    burst: Size = 16000
    mode: Literal["police", "shape"] = "police"
    key: Literal["flow", "name", "host"] = "flow"
    """What has a bucket of its own: each flow, each name asked for, each inside host."""


class Freeze(Strict):
    """A flow passes until a number of bytes or packets has crossed, then falls silent for good (Russia 2025)."""

    after_bytes: Size | None = None
    """Payload bytes that pass first."""
    up_to_bytes: Size | None = None
    """With it, each flow has a limit of its own between `after_bytes` and this, by the seed."""
    after_packets: int | None = Field(default=None, ge=1)
    """Data packets that pass first."""
    sender: Literal["server", "client", "both"] = "server"
    """Whose bytes are counted and stopped."""

    @model_validator(mode="after")
    def _one(self) -> Freeze:
        if (self.after_bytes is None) == (self.after_packets is None):
            raise ValueError("a freeze counts bytes or packets; give `after_bytes: 16 kB` or `after_packets: 25`")
        if self.up_to_bytes is not None and (self.after_bytes is None or self.up_to_bytes < self.after_bytes):
            raise ValueError("`up_to_bytes` is below the limit it raises; give `after_bytes` and more than that")
        return self


class Impair(Strict):
    """A flow made bad without being cut: extra delay, a share of packets lost, a share with a byte flipped."""

    delay: Duration = 0.0
    """How much later every packet leaves."""
    spread: Duration = 0.0
    """At most so much later again, drawn for each packet."""
    loss: Fraction = 0.0
    """The share of packets that is dropped."""
    corrupt: Fraction = 0.0
    """The share of packets with data of which one byte is flipped, checksum left as it was."""

    @model_validator(mode="after")
    def _something(self) -> Impair:
        if not (self.delay or self.spread or self.loss or self.corrupt):
            raise ValueError("nothing to impair; give `delay`, `loss` or `corrupt`")
        return self


class Ban(Strict):
    """Every packet to or from an address is dropped for a time."""

    address: Literal["server", "client"] = "server"
    """Whose address is banned."""
    lasts: Duration = 86400.0
    """For how long."""


class Intercept(Strict):
    """TLS ends at the censor, with a certificate of its own CA, and is carried on to the server (Kazakhstan 2019)."""

    issuer: str = "Qaznet Trust Network"
    """Common name of the censor's CA; no host trusts it unless the scenario says so."""


class Probe(Strict):
    """Active probing: the censor connects to the suspect server, and bans it if it answers like a proxy."""

    after: Duration = 0.5
    """When the probes are sent, counted from the suspicious packet."""
    sends: tuple[Literal["random", "replay", "http", "tls", "nothing"], ...] = Field(
        default=("random", "http", "tls"), min_length=1
    )
    """What each probing connection sends first."""
    proxy_if: Literal["silent", "any-data", "never"] = "silent"
    """`silent`: it accepts connections and answers none of the probes (a server that only talks to those who know)."""
    ban: Duration = 43200.0
    """How long a server that was found out is banned."""


_WITH_DEFAULTS = ("rst", "icmp", "dns_answer", "block_page", "tls_alert", "ban", "intercept", "probe")
_IN_PATH_ONLY = ("throttle", "freeze", "impair", "delay", "drop", "ban", "intercept")


class Action(Strict):
    """What the censor does; exactly one."""

    rst: Reset | None = None
    icmp: Unreachable | None = None
    dns_answer: DnsAnswer | None = None
    block_page: BlockPage | None = None
    tls_alert: TlsAlert | None = None
    throttle: Throttle | None = None
    freeze: Freeze | None = None
    impair: Impair | None = None
    delay: Duration | None = None
    """This packet is held back so long; for a whole flow see `impair`."""
    drop: Literal["packet", "flow", "from-client", "from-server"] | None = None
    """This packet, or the whole flow from here on, or one direction of it."""
    ban: Ban | None = None
    intercept: Intercept | None = None
    probe: Probe | None = None
    watch: Literal[True] | None = None
    """Nothing: the packet is only noted, and a residual block armed if the rule has one."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        """Take `action: probe: true` and `action: {rst: }` for the action with its defaults."""
        if isinstance(value, dict):
            bare: dict[str, Any] = {
                key: {} for key, item in value.items() if key in _WITH_DEFAULTS and item in (None, True)
            }
            return {**value, **bare}
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Action:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"{len(self.model_fields_set)} actions; give exactly one")
        return self

    @property
    def kind(self) -> str:
        """The key that is set."""
        return next(iter(self.model_fields_set))

    @property
    def needs_the_path(self) -> bool:
        """Say whether only an in-path censor can do this."""
        return self.kind in _IN_PATH_ONLY or (self.dns_answer is not None and self.dns_answer.drop_query)


class Residual(Strict):
    """How long, and for which later packets, a rule goes on after it has fired.

    `key`: 4-tuple (either direction), 3-tuple (client, server, server port), 2-tuple (client, server), `server`,
    `client` (addresses alone), `sources` (either address, but only what it sends, to whomever).
    """

    lasts: Duration
    spread: Duration = 0.0
    """Each block lasts between `lasts` and `lasts + spread`, by the seed."""
    key: Literal["2-tuple", "3-tuple", "4-tuple", "server", "client", "sources"] = "4-tuple"
    reaction: Literal["rst", "drop"] = "rst"
    sender: Literal["client", "server"] | None = None
    """Whose packets are answered or dropped; default: everybody's."""
    refresh: bool = False
    spreads: bool = False
    """A TCP packet that falls into the block begins one for its own ends, as if it had said the word itself."""
    probability: Fraction = 1.0
    """Of a connection that fired leaving a block."""
