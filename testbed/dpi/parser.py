"""How a censor reads bytes: what its parsers tolerate, what it puts together, what it verifies, how far it looks.

Every deviation is an evasion that somebody has published, so each is a knob. The defaults are the most careless ones:
packet by packet, nothing verified.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from testbed.documents import Strict
from testbed.units import Size
from testbed.wire.quic_packet import KEYED


class Parser(Strict):
    """What the censor's parsers do."""

    dns_max_count: int = Field(default=65535, ge=0)
    """A message with a larger section count is not looked at."""
    dns_over_tcp: bool = False
    """Questions over TCP port 53 are read too."""
    http_leading_newline: bool = False
    """A newline before the method is skipped."""
    http_space_after_version: bool = False
    """White space between the version and the line's end is skipped, newlines too."""
    http_space_before_host: bool = False
    """White space other than one blank before the host value is skipped, newlines too."""
    http_longest_host: int = Field(default=256, ge=0)
    """A host value of more bytes, padding included, is not looked at."""
    http_leading_space: bool = False
    """Blanks and tabs before the method are skipped."""
    http_several_spaces: bool = False
    """Method, target and version may be kept apart by several blanks or tabs."""
    http_lower_case_method: bool = False
    """`get` is GET."""
    http_any_method: bool = False
    """Any word is a method; else only those of `methods`."""
    http_any_version: bool = False
    """A version other than 1.0 and 1.1 is taken, such as `HTTP/2.0` or `HTTP/9.9`."""
    http_no_version: bool = False
    """A request without a version is taken (HTTP/0.9)."""
    http_bare_lf: bool = True
    """A line may end without CR."""
    http_bare_cr: bool = False
    """A line may end without LF."""
    http_space_before_colon: bool = False
    """`Host : a` is a Host header."""
    http_space_before_name: bool = False
    """A header name may be indented."""
    http_exact_name: bool = False
    """Only `Host` is a Host header, not `hOsT`."""
    http_folded_headers: bool = False
    """A header goes on in the next line if that is indented (obs-fold, RFC 9112 §5.2)."""
    http_duplicate_host: Literal["first", "last", "any"] = "first"
    """Which of several Host headers counts; `any`: each, and the target's host too."""
    http_whole_line: bool = False
    """A Host header counts only once the end of its line is there."""
    http_target_host: bool = False
    """The host in an absolute target, or in CONNECT's, counts before that of the Host header (RFC 9112 §3.2.2)."""
    http_host_without_request: bool = False
    """A Host header counts behind any first line, as for a censor that searches packets for one."""
    http_pipelined: bool = False
    """Later requests in the same data are read as well (`parse_requests`)."""
    tls_join_records: bool = False
    """A ClientHello in several TLS records is put together."""
    tls_skip_records: bool = False
    """Records of other types before a ClientHello, such as an alert, are stepped over."""
    tls_loose_lengths: bool = False
    """A ClientHello whose list of extensions doesn't end where the hello does is searched for a name all the same."""
    quic_versions: tuple[int, ...] = (1, 0x6B3343CF)
    """Versions whose Initials are decrypted."""
    quic_join: Literal["frame", "packet", "datagram", "flow"] = "flow"
    """The largest thing over which CRYPTO frames are put together."""
    quic_gives_up_before_crypto: tuple[Literal["padding", "ping"], ...] = ()
    """Frames before the first CRYPTO frame that make the censor pass a packet over."""
    reassembly: Literal["none", "in-order", "first-wins", "last-wins", "either", "arrival"] = "none"
    """Of TCP segments: not at all, only those that come in order, in any order with the first or last copy winning, or
    both ways where copies differ (`either`; with urgent bytes and without, too), or joined as they arrive, whatever
    their sequence numbers say."""
    fragments: Literal["ignored", "first-alone", "first-wins", "last-wins", "bsd", "linux", "bsd-right", "drop"] = (
        "ignored"
    )
    """Of IP fragments: judged by address alone; the first of IPv4 read as if it were a whole packet; or put together,
    whose copy winning where they overlap."""
    packets_inspected: int = Field(default=16, ge=1)
    """Data packets of a flow that are looked at before it is left alone. U: default 16."""
    bytes_inspected: Size | None = None
    """Bytes of one packet, or of one side's stream, that are looked at; default: 16 KiB."""
    inspects: Literal["both", "client"] = "both"
    """Whose data is looked at."""
    verify_checksum: bool = False
    """A TCP segment with a wrong checksum is not believed."""
    verify_data_offset: bool | Literal["low"] = True
    """A TCP segment whose data offset is below 5 or behind its end is not believed; `low`: one below 5. Else the first
    is read as if it were 5, and the second has no data."""
    verify_ttl: bool = False
    """A packet whose TTL is lower than the flow's by more than 2 is not believed: it may not arrive."""
    verify_ack: bool = False
    """TCP data without the ACK flag is not believed."""
    verify_md5: bool = False
    """A segment with a TCP-MD5 option (RFC 2385) on a flow opened without is not believed."""
    verify_options: bool = False
    """A TCP segment with an option other than MSS, window scale, SACK and timestamps is not believed."""
    unparsed: Literal["pass", "drop"] = "pass"
    """What becomes of a packet that can't be read; dropping is for in-path censors."""

    @field_validator("quic_versions")
    @classmethod
    def _have_keys(cls, versions: tuple[int, ...]) -> tuple[int, ...]:
        for version in versions:
            if version not in KEYED:
                known = ", ".join(map(hex, sorted(KEYED)))
                raise ValueError(f"nobody here knows the keys of QUIC version {version:#x}; known: {known}")
        return versions
