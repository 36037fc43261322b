"""The first lines of an HTTP/1 request, read as strictly or sloppily as a given censor does.

What a sloppy form hides from the censor is measured behaviour (facts §1, the evasion table), so each tolerance is a
knob. The defaults are those of the Turkmen censor of 2022: every deviation in that table evades it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE")
_LINE = re.compile(rb"([A-Z]{3,10}) ([^ \r\n]{1,8190}) (HTTP/1\.[01])")
_SLOPPY_LINE = re.compile(rb"\s*([A-Z]{3,10})\s+(\S{1,8190})\s+(HTTP/[0-9.]{1,4})\s*")


@dataclass(frozen=True, slots=True)
class Knobs:
    """What a censor's parser tolerates."""

    leading_newline: bool = False
    """A newline before the method is skipped."""
    space_after_version: bool = False
    """White space between the version and the line's end is skipped."""
    space_before_host: bool = False
    """White space other than one blank before the host value is skipped."""
    longest_host: int = 256
    """A host value of more bytes, padding included, is not looked at."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request's first line and the value of its first Host header (lower case, without port), if it has one."""

    method: str
    target: str
    version: str
    host: str | None


def parse_request(data: memoryview | bytes, knobs: Knobs = Knobs()) -> Request | None:
    """Read a request from the start of a stream; None if this censor doesn't take it for one."""
    text = bytes(data)
    if knobs.leading_newline:
        text = text.lstrip(b"\r\n")
    if not text.startswith(METHODS):
        return None
    first, *lines = text.split(b"\n")
    line = first.removesuffix(b"\r")
    match = (_SLOPPY_LINE if knobs.space_after_version else _LINE).fullmatch(line)
    if match is None:
        return None
    method, target, version = (group.decode("latin-1") for group in match.groups())
    return Request(method, target, version, _host(lines, knobs))


def _host(lines: list[bytes], knobs: Knobs) -> str | None:
    for raw in lines:
        line = raw.removesuffix(b"\r")
        if not line:
            return None
        name, colon, value = line.partition(b":")
        if not colon or name.lower() != b"host":
            continue
        if len(value) > knobs.longest_host:
            return None
        bare = value.removeprefix(b" ")
        if bare != bare.lstrip():
            if not knobs.space_before_host:
                return None
            bare = bare.lstrip()
        host = bare.rstrip().decode("latin-1").lower()
        return (host if host.startswith("[") else host.partition(":")[0]).rstrip(".") or None
    return None
