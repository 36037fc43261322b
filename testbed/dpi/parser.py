"""How a censor reads bytes: what its parsers tolerate, what it puts together, what it verifies, how far it looks.

Every deviation is an evasion that somebody has published, so each is a knob. The defaults are the most careless ones:
packet by packet, nothing verified.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from testbed.documents import Strict
from testbed.units import Size


class Parser(Strict):
    """What the censor's parsers do."""

    dns_max_count: int = 65535
    """A message with a larger section count is not looked at."""
    dns_over_tcp: bool = False
    """Questions over TCP port 53 are read too."""
    http_leading_newline: bool = False
    http_space_after_version: bool = False
    http_space_before_host: bool = False
    http_longest_host: int = 256
    tls_join_records: bool = False
    """A ClientHello in several TLS records is put together."""
    quic_versions: tuple[int, ...] = (1, 0x6B3343CF)
    """Versions whose Initials are decrypted."""
    quic_join: Literal["frame", "packet", "datagram", "flow"] = "flow"
    """The largest thing over which CRYPTO frames are put together."""
    quic_gives_up_before_crypto: tuple[Literal["padding", "ping"], ...] = ()
    """Frames before the first CRYPTO frame that make the censor pass a packet over."""
    reassembly: Literal["none", "in-order", "first-wins", "last-wins"] = "none"
    """Of TCP segments: not at all, only those that come in order, or in any order, the first or last copy winning."""
    fragments: Literal["ignored", "first", "last", "bsd", "linux", "bsd-right", "drop"] = "ignored"
    """Of IP fragments: judged by address alone, or put together, whose copy winning where they overlap."""
    packets_inspected: int = Field(default=16, ge=1)
    """Data packets of a flow that are looked at before it is left alone. U: default 16."""
    bytes_inspected: Size | None = None
    """Bytes of one packet, or of one side's stream, that are looked at; default: 16 KiB."""
    inspects: Literal["both", "client"] = "both"
    """Whose data is looked at."""
    verify_checksum: bool = False
    """A TCP segment with a wrong checksum is not believed."""
    verify_data_offset: bool = True
    """A TCP segment whose data offset is below 5 or behind its end is not believed; else it is read as if it were 5."""
    verify_ttl: bool = False
    """A packet whose TTL is lower than the flow's by more than 2 is not believed: it may not arrive."""
    verify_ack: bool = False
    """TCP data without the ACK flag is not believed."""
    verify_md5: bool = False
    """A segment with a TCP-MD5 option (RFC 2385) on a flow opened without is not believed."""
    unparsed: Literal["pass", "drop"] = "pass"
    """What becomes of a packet that can't be read; dropping is for in-path censors."""
