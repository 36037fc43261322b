"""What a rule looks for. Specifications only, checked and frozen; `matchers` compiles them.

Everything given in one `Match` must hold. `all`, `any` and `unless` combine whole matches. Addresses and ports are
those of the contacted host, whichever way the packet travels.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from testbed.documents import Strict
from testbed.dpi.names import check_pattern
from testbed.units import Duration, Size, TimeOfDay

Pattern = Annotated[str, AfterValidator(check_pattern)]
_SHORT = ("quic", "tls")
"""Keys that may be just `true`: any."""
NAME_KEYS = ("dns", "http_host", "sni", "quic_sni")
DNS_TYPES = {
    "A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "NULL": 10, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33,
    "NAPTR": 35, "SVCB": 64, "HTTPS": 65, "ANY": 255,
}  # fmt: skip


def _port_range(value: object) -> tuple[int, int]:
    if isinstance(value, tuple):
        return value
    low, _, high = str(value).partition("-")
    try:
        first, last = int(low), int(high or low)
    except ValueError:
        first, last = 1, 0
    if not 0 < first <= last < 65536:
        raise ValueError(f"{value!r} is not a port; write 443 or 3478-3479")
    return first, last


def _hex(value: object) -> str:
    try:
        return bytes.fromhex(value if isinstance(value, str) else "?").hex()  # YAML has read a number: 0x0902 as 2306
    except ValueError:
        raise ValueError(f'{value!r} is not hexadecimal bytes; write them in quotes, like "09 02"') from None


def regex_bytes(text: str) -> bytes:
    """Return a regular expression over bytes: a letter up to U+00FF is a byte, unless others need UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def _regex(value: str) -> str:
    try:
        re.compile(regex_bytes(value))
    except re.error as error:
        raise ValueError(f"{value!r} is not a regular expression ({error}); escape what is meant as itself") from None
    return value


def _dns_type(value: object) -> int:
    text = str(value).upper().removeprefix("TYPE")
    if text in DNS_TYPES:
        return DNS_TYPES[text]
    if text.isdigit() and int(text) < 65536:
        return int(text)
    raise ValueError(f"{value!r} is not a DNS type; write one like `AAAA` or `65`")


def _country(value: str) -> str:
    if re.fullmatch("[A-Za-z]{2}", value) is None:
        raise ValueError(f"{value!r} is not a country; write its two letters, like `DE`")
    return value


def _plugin(value: str) -> str:
    kind, _, rest = value.partition(":")
    if not rest or kind not in ("python", "onnx") or (kind == "python" and not all(rest.rpartition(":")[::2])):
        raise ValueError(f"{value!r} is not a plug-in; write `python:FILE:FUNCTION` or `onnx:FILE`")
    return value


def _fingerprint(kind: str, form: str) -> AfterValidator:
    def check(value: str) -> str:
        if re.fullmatch(form, value.lower()) is None:
            raise ValueError(f"{value!r} is not a {kind}; write it whole")
        return value.lower()

    return AfterValidator(check)


PortRange = Annotated[tuple[int, int], BeforeValidator(_port_range)]
Hex = Annotated[str, BeforeValidator(_hex), WithJsonSchema({"type": "string"})]
Regex = Annotated[str, AfterValidator(_regex)]
DnsType = Annotated[int, BeforeValidator(_dns_type)]
Text = Annotated[str, Field(min_length=1)]
Number32 = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
Country = Annotated[str, AfterValidator(_country)]
Ja3 = Annotated[str, _fingerprint("JA3", "[0-9a-f]{32}")]
Ja4 = Annotated[str, _fingerprint("JA4", "[tqd][0-9a-z]{2}[di][0-9]{4}[0-9a-z]{2}_[0-9a-f]{12}_[0-9a-f]{12}")]


class NameSet(Strict):
    """Names by pattern, by list file in `policies/lists`, or both."""

    patterns: tuple[Pattern, ...] = ()
    lists: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _not_empty(self) -> NameSet:
        if not self.patterns and not self.lists:
            raise ValueError("no names; add `patterns:` or `lists:`")
        return self


class Signature(Strict):
    """The shape of one payload: length in bytes, first bytes in hexadecimal, bytes or a regular expression anywhere."""

    length: int | None = Field(default=None, ge=0)
    shortest: int | None = Field(default=None, ge=0)
    longest: int | None = Field(default=None, ge=0)
    prefix: Hex = ""
    offset: int = Field(default=0, ge=0)
    """Where `prefix` stands."""
    contains: tuple[Text, ...] = ()
    """Any of these texts, anywhere, letters of either case (a censor's keyword list)."""
    regex: Regex | None = None
    """Python's, over the payload as Latin-1."""

    @model_validator(mode="after")
    def _not_empty(self) -> Signature:
        if self == Signature.model_construct():
            raise ValueError("an empty signature; give a length, a prefix, a text or a regex")
        if self.shortest is not None and self.longest is not None and self.shortest > self.longest:
            raise ValueError("`shortest` is more than `longest`; exchange them")
        return self


class HttpMatch(Strict):
    """Of an HTTP/1 request: its method, the texts in its target (`url`) or in the whole of it (`keyword`)."""

    methods: tuple[Text, ...] = ()
    """Any of these methods; empty: any."""
    url: tuple[Text, ...] = ()
    """Any of these texts in the target, letters of either case."""
    keyword: tuple[Text, ...] = ()
    """Any of these texts anywhere in the request, letters of either case."""


class TlsMatch(Strict):
    """Of a ClientHello, over TCP or in a QUIC Initial: presence of extensions, ALPN, versions, fingerprints."""

    has_sni: bool | None = None
    """Whether it names a server."""
    ech: bool | None = None
    """Whether it carries Encrypted Client Hello, extension 0xfe0d (GREASE looks the same)."""
    esni: bool | None = None
    """Whether it carries the older encrypted name, extension 0xffce."""
    alpn: tuple[Text, ...] = ()
    """Any of these offered."""
    ja3: tuple[Ja3, ...] = ()
    """MD5 of the JA3 string."""
    ja4: tuple[Ja4, ...] = ()
    """JA4 in its usual form, `t13d1516h2_8daaf6152771_b186095e22b6`."""
    shortest: int | None = None
    """Bytes of the ClientHello at least."""


class QuicMatch(Strict):
    """Of a QUIC long header (RFC 9000 §17.2), without decrypting anything."""

    versions: tuple[Number32, ...] = ()
    """As numbers: 1, 0x6b3343cf. Empty: any that is known (1, 2, drafts 29 to 32); of others the kind isn't asked."""
    kinds: tuple[Literal["initial", "0rtt", "handshake", "retry", "version-negotiation"], ...] = ("initial",)
    """Any of these packet types; empty: any."""
    empty_dcid: bool | None = None
    """Whether the destination connection ID is empty."""


class Bounds(Strict):
    """A number between two bounds."""

    least: float | None = Field(default=None, allow_inf_nan=False)
    """The lower bound, itself included."""
    most: float | None = Field(default=None, allow_inf_nan=False)
    """The upper bound, itself included."""

    @model_validator(mode="after")
    def _in_order(self) -> Bounds:
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError("`least` is more than `most`; exchange them")
        return self

    def hold(self, value: float) -> bool:
        """Say whether a value lies between."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


class FirstPackets(Strict):
    """Sizes and pace of a flow's first data packets: payload bytes, negative for those of the server."""

    sizes: tuple[Bounds, ...] = ()
    """One item a packet, in order."""
    within: Duration | None = None
    """All of them inside this time."""

    @model_validator(mode="after")
    def _not_empty(self) -> FirstPackets:
        if not self.sizes:
            raise ValueError("no sizes; give one item for each packet, like `{least: 100, most: 200}`")
        return self


class Volume(Strict):
    """Bytes that crossed the border to or from one outside address (2025's bans: facts/turkmenistan.md §2)."""

    over: Size
    """More than this within `window`. With `up_to`, each address has a limit of its own between the two."""
    up_to: Size | None = None
    """The highest limit that is drawn for an address."""
    window: Literal["day", "ever"] = "day"
    """Over which time bytes are added up: one day (UTC), or since the censor began."""
    batches: tuple[TimeOfDay, ...] = ()
    """Times of day (UTC) at which new verdicts take effect; empty: at once."""

    @model_validator(mode="after")
    def _in_order(self) -> Volume:
        if self.up_to is not None and self.up_to < self.over:
            raise ValueError("`up_to` is below `over`; give more than that")
        return self


class Clock(Strict):
    """A time of day, by the emulated clock, which is UTC's (`from` may be after `to`: over midnight)."""

    start: TimeOfDay = Field(alias="from")
    """When it begins."""
    end: TimeOfDay = Field(alias="to")
    """When it ends."""

    @model_validator(mode="after")
    def _some_time(self) -> Clock:
        if self.start == self.end:
            raise ValueError("`from` and `to` are the same time of day; write `00:00` and `24:00` for the whole day")
        return self

    def holds(self, now: float) -> bool:
        """Say whether a Unix time falls inside."""
        at = now % 86400.0
        inside = self.start <= at < self.end
        return inside if self.start <= self.end else at >= self.start or at < self.end


def _true_is_any(schema: dict[str, Any]) -> None:
    """Let an editor's schema take `quic: true` as the loader does."""
    for key in _SHORT:
        schema["properties"][key]["anyOf"].append({"const": True})


class Match(Strict):
    """What a rule looks for; everything given must hold."""

    model_config = ConfigDict(json_schema_extra=_true_is_any)

    dns: NameSet | None = None
    """QNAME of a question."""
    dns_types: tuple[DnsType, ...] = ()
    """Types of question; empty: any."""
    http_host: NameSet | None = None
    """`Host:` of an HTTP/1 request, or the host of an absolute target."""
    sni: NameSet | None = None
    """Server name of a ClientHello over TCP."""
    quic_sni: NameSet | None = None
    """Server name of a ClientHello in QUIC Initials, decrypted (RFC 9001)."""
    http: HttpMatch | None = None
    tls: TlsMatch | None = None
    quic: QuicMatch | None = None
    payload: tuple[Signature, ...] = ()
    """Any of these."""
    looks_like: tuple[str, ...] = ()
    """Protocols by content, whatever the port: `wireguard`, `openvpn`, …"""
    encrypted: Literal[True] | None = None
    """The client's first payload fits none of the five exemptions of fully encrypted traffic (`encrypted.py`)."""
    entropy: Bounds | None = None
    """Shannon entropy of a payload, bits a byte."""
    first_packets: FirstPackets | None = None
    data_packet: Bounds | None = None
    """Which data packet of its flow this is, counted from 1 over both directions."""
    client_packet: Bounds | None = None
    """Which of its client's data packets this is, counted from 1; nothing else matches."""
    unanswered: int | None = Field(default=None, ge=1)
    """The client has sent this many data packets or more, and the server none."""
    plugin: Annotated[str, AfterValidator(_plugin)] | None = None
    """`python:FILE:FUNCTION` or `onnx:FILE`; refused unless the user allows plug-ins."""
    addresses: tuple[str, ...] = ()
    """Prefixes, or names of address groups of the scenario."""
    address_lists: tuple[str, ...] = ()
    """Files in `policies/lists` with one prefix a line."""
    countries: tuple[Country, ...] = ()
    """Of the contacted host, by the table `policies/lists/geo-emulated.csv`."""
    networks: tuple[Number32, ...] = ()
    """AS numbers of the contacted host, by the same table."""
    ports: tuple[PortRange, ...] = ()
    protocol: Literal["tcp", "udp", "icmp"] | None = None
    origin: Literal["inside", "outside"] | None = None
    """Which side opened the flow."""
    sender: Literal["inside", "outside", "client", "server"] | None = None
    """Whose packets are judged; default: everybody's."""
    source_port_above: bool | None = None
    """The packet's source port is greater than its destination port."""
    volume: Volume | None = None
    clock: Clock | None = None
    all_of: tuple[Match, ...] = Field(default=(), alias="all")
    any_of: tuple[Match, ...] = Field(default=(), alias="any")
    unless: tuple[Match, ...] = ()
    """None of these."""
    not_: Match | None = Field(default=None, alias="not")
    """Not this; `unless` with one item."""
    everything: bool = False

    @model_validator(mode="before")
    @classmethod
    def _flags(cls, value: Any) -> Any:
        if isinstance(value, dict):
            short: dict[str, Any] = {key: {} for key in _SHORT if value.get(key) is True}
            return {**value, **short}
        return value

    @model_validator(mode="after")
    def _not_empty(self) -> Match:
        if not self.everything and self == Match.model_construct():
            raise ValueError("nothing to match; add a matcher, or `everything: true`")
        return self

    def parts(self) -> tuple[Match, ...]:
        """Return the matches inside this one."""
        return (*self.all_of, *self.any_of, *self.unless, *((self.not_,) if self.not_ is not None else ()))

    def walk(self) -> tuple[Match, ...]:
        """Return this match and all inside it, depth first."""
        return (self, *(deeper for part in self.parts() for deeper in part.walk()))


def looks_like_address(text: str) -> bool:
    """Say whether a text is meant as an address or a prefix, rightly written or not: no group has such a name."""
    return bool(re.fullmatch(r"[0-9.]+(?:/.*)?|[0-9a-fA-F]*:.*|.*/[0-9]+", text))


def is_prefix(text: str) -> bool:
    """Say whether a text is an address or a prefix, not the name of a group."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
