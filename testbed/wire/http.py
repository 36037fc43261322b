"""HTTP/1 requests and first lines of answers, read as strictly or sloppily as a given censor does.

What a sloppy form hides from the censor is measured behaviour (facts §1, the evasion table), so each tolerance is a
knob. The defaults are those of the Turkmen censor of 2022: every deviation in that table evades it. A server's own
tolerance is another set of knobs: a form evades where the server reads a host and the censor reads none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, NamedTuple

METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE")
_STARTS = frozenset(method[0] for method in METHODS)
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*([0-9]{1,9})")
_BLANK = re.compile(rb"\n\r?\n")
_STATUS = re.compile(rb"(HTTP/1\.[01]) ([0-9]{3})(?: ([^\r\n]*))?\r?\n")


class _Patterns(NamedTuple):
    """The regular expressions of a set of knobs. Those for headers begin with the end of the line before."""

    line: re.Pattern[bytes]
    host: re.Pattern[bytes]
    blank: re.Pattern[bytes]
    first: re.Pattern[bytes]
    back: int
    """How long that end of a line is, at most."""


@cache
def _compiled(knobs: Knobs) -> _Patterns:
    if knobs.bare_cr:
        eol, before, inside = rb"(?>\r\n?|\n)", rb"[\r\n]", rb"[^\r\n]"
    elif knobs.bare_lf:
        eol, before, inside = rb"\r?\n", rb"\n", rb"[^\n]"
    else:
        eol, before, inside = rb"\r\n", rb"\r\n", rb"(?:(?!\r\n)[\s\S])"
    return _Patterns(
        _line_pattern(knobs, eol),
        _host_pattern(knobs, eol, before, inside),
        re.compile(eol + eol if knobs.bare_cr else before + eol),
        re.compile(inside + b"*" + eol),
        1 if knobs.bare_cr or knobs.bare_lf else 2,
    )


def _line_pattern(knobs: Knobs, eol: bytes) -> re.Pattern[bytes]:
    skipped = b"\r\n" * knobs.leading_newline + b" \t" * knobs.leading_space
    method = _TOKEN + b"{1,32}" if knobs.any_method else b"|".join(map(re.escape, knobs.methods))
    space = b"[ \t]+" if knobs.several_spaces else b" "
    version = rb"HTTP/[0-9.]{1,4}" if knobs.any_version else rb"HTTP/1\.[01]"
    parts = (
        b"[%b]*" % skipped if skipped else b"",
        b"(?i:(%b))" % method if knobs.lower_case_method else b"(%b)" % method,
        space,
        rb"([^ \t\r\n]{1,8190})" if knobs.several_spaces else rb"([^ \r\n]{1,8190})",
        b"(?:%b(%b))?" % (space, version) if knobs.no_version else b"%b(%b)" % (space, version),
        rb"\s*?" if knobs.space_after_version else b"",
        rb"(?:%b|\r?\Z)" % eol,
    )
    return re.compile(b"".join(parts))


def _host_pattern(knobs: Knobs, eol: bytes, before: bytes, inside: bytes) -> re.Pattern[bytes]:
    fold = b"(?:%b[ \t]%b*)*" % (eol, inside) if knobs.folded_headers else b""
    # A value on the next line counts, but the next header is no value.
    value = rb"((?>\s*)(?!%b+:\s)%b*%b)" if knobs.space_before_host else b"(%b*%b)"
    parts = (inside, fold) if not knobs.space_before_host else (_TOKEN, inside, fold)
    return re.compile(
        b"".join(
            (
                before,
                b"[ \t]*" if knobs.space_before_name else b"",
                b"Host" if knobs.exact_name else b"(?i:host)",
                b"[ \t]*:" if knobs.space_before_colon else b":",
                value % parts,
            )
        )
    )


@dataclass(frozen=True, slots=True)
class Knobs:
    """What a censor's parser tolerates."""

    leading_newline: bool = False
    """A newline before the method is skipped."""
    space_after_version: bool = False
    """White space between the version and the line's end is skipped, newlines too."""
    space_before_host: bool = False
    """White space other than one blank before the host value is skipped, newlines too."""
    longest_host: int = 256
    """A host value of more bytes, padding included, is not looked at."""
    leading_space: bool = False
    """Blanks and tabs before the method are skipped."""
    several_spaces: bool = False
    """Method, target and version may be kept apart by several blanks or tabs."""
    lower_case_method: bool = False
    """`get` is GET."""
    any_method: bool = False
    """Any word is a method; else only those of `methods`."""
    methods: tuple[bytes, ...] = METHODS
    any_version: bool = False
    """A version other than 1.0 and 1.1 is taken, such as `HTTP/2.0` or `HTTP/9.9`."""
    no_version: bool = False
    """A request without a version is taken (HTTP/0.9)."""
    bare_lf: bool = True
    """A line may end without CR."""
    bare_cr: bool = False
    """A line may end without LF."""
    space_before_colon: bool = False
    """`Host : a` is a Host header."""
    space_before_name: bool = False
    """A header name may be indented."""
    exact_name: bool = False
    """Only `Host` is a Host header, not `hOsT`."""
    folded_headers: bool = False
    """A header goes on in the next line if that is indented (obs-fold, RFC 9112 §5.2)."""
    duplicate_host: Literal["first", "last", "any"] = "first"
    """Which of several Host headers counts; `any`: each, and the target's host too."""
    whole_line: bool = False
    """A Host header counts only once the end of its line is there."""
    target_host: bool = False
    """The host in an absolute target, or in CONNECT's, counts before that of the Host header (RFC 9112 §3.2.2)."""
    host_without_request: bool = False
    """A Host header counts behind any first line, as for a censor that searches packets for one."""
    pipelined: bool = False
    """Later requests in the same data are read as well (`parse_requests`)."""
    patterns: _Patterns = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find the regular expressions, which equal knobs share."""
        object.__setattr__(self, "patterns", _compiled(self))


@dataclass(frozen=True, slots=True)
class Request:
    """A request's first line and the host it asks for (lower case, without port), if the censor finds one.

    `head` is the header block. `end` is the offset behind the headers, None if their end is not there yet.
    """

    method: str
    target: str
    version: str
    host: str | None
    head: bytes = b""
    end: int | None = None
    further_hosts: tuple[str, ...] = ()
    """Those of other Host headers, to a censor that minds each."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers in order, names as written, folded lines joined; read anew at each call."""
        return _headers(self.head)

    def header(self, name: str) -> str | None:
        """Return the value of the first header of a name, whatever its case."""
        return _first(self.headers, name)


@dataclass(frozen=True, slots=True)
class Response:
    """The first line of an answer and its header block; `body` is what is there of it."""

    version: str
    status: int
    reason: str
    head: bytes
    body: bytes

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers in order; read anew at each call."""
        return _headers(self.head)

    @property
    def location(self) -> str | None:
        """Where a redirection leads."""
        return _first(self.headers, "location")


def parse_request(data: memoryview | bytes, knobs: Knobs = Knobs()) -> Request | None:
    """Read a request from the start of a stream; None if this censor doesn't take it for one."""
    if not data or (data[0] not in _STARTS and not _looks_further(knobs)):
        return None
    return _request(bytes(data), 0, knobs)


def parse_requests(data: memoryview | bytes, knobs: Knobs = Knobs()) -> Iterator[Request]:
    """Yield the requests that this censor finds in `data`: one, or all if it knows pipelining.

    A body is skipped as `Content-Length` says; chunked ones are not.
    """
    text, at = bytes(data), 0
    while (request := _request(text, at, knobs)) is not None:
        yield request
        if not knobs.pipelined or request.end is None:
            return
        length = _LENGTH.search(request.head)
        at = request.end + (int(length[1]) if length else 0)


def parse_response(data: memoryview | bytes) -> Response | None:
    """Read the beginning of an answer, which must have its whole first line; None if it is none."""
    if data[:5] != b"HTTP/":
        return None
    text = bytes(data)
    match = _STATUS.match(text)
    if match is None:
        return None
    version, status, reason = (part.decode("latin-1") for part in match.groups(b""))
    blank = _BLANK.search(text, match.end() - 1)
    end, after = blank.span() if blank else (len(text), len(text))
    return Response(version, int(status), reason, text[match.end() : end], text[after:])


def _looks_further(knobs: Knobs) -> bool:
    """Say whether a request may begin with something else than a known method's letter."""
    return (
        knobs.leading_newline or knobs.leading_space or knobs.any_method or knobs.lower_case_method
        or knobs.host_without_request or knobs.methods is not METHODS
    )  # fmt: skip


def _request(text: bytes, at: int, knobs: Knobs) -> Request | None:
    patterns = knobs.patterns
    match = patterns.line.match(text, at)
    if match is not None:
        method, target, version = (part.decode("latin-1") for part in match.groups(b"HTTP/0.9"))
    elif knobs.host_without_request and (match := patterns.first.search(text, at)):
        method = target = version = ""
    else:
        return None
    begin = match.end()
    blank = patterns.blank.search(text, begin - patterns.back)
    end = blank.start() if blank else len(text)
    host = _target_host(method, target) if knobs.target_host else None
    if host is None:
        host = _host(text, begin - patterns.back, end, knobs)
    if not method and host is None:
        return None
    further = _further_hosts(text, begin - patterns.back, end, knobs) if knobs.duplicate_host == "any" else ()
    after = blank.end() if blank else None
    return Request(method.upper(), target, version, host, text[begin:end], after, further)


def _further_hosts(text: bytes, begin: int, end: int, knobs: Knobs) -> tuple[str, ...]:
    found = (_value(match, text, knobs) for match in knobs.patterns.host.finditer(text, begin, end))
    return tuple(host for host in found if host is not None)


def _host(text: bytes, begin: int, end: int, knobs: Knobs) -> str | None:
    match = knobs.patterns.host.search(text, begin, end)
    if match is not None and knobs.duplicate_host == "last":
        *_, match = knobs.patterns.host.finditer(text, begin, end)
    return None if match is None else _value(match, text, knobs)


def _value(match: re.Match[bytes], text: bytes, knobs: Knobs) -> str | None:
    """Return the host that a header names, None if this censor doesn't look at it."""
    # folded, the line that ends here may go on in the next
    if (
        knobs.whole_line
        and len(text) - match.end() <= 2 * knobs.folded_headers
        and not text[match.end() :].strip(b"\r\n")
    ):
        return None
    value = match[1].removesuffix(b"\r")
    if len(value) > knobs.longest_host:
        return None
    if knobs.folded_headers:
        value = re.sub(rb"\r?\n[ \t]+", b" ", value)
    bare = value.lstrip() if knobs.space_before_host else value.removeprefix(b" ")
    if bare[:1].isspace():
        return None
    return _bare_name(bare.rstrip().decode("latin-1"))


def _bare_name(host: str) -> str | None:
    """Return a host without its port and last dot, in lower case."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].rstrip(".").lower() or None


def _target_host(method: str, target: str) -> str | None:
    scheme, found, rest = target.partition("://")
    if method.upper() == "CONNECT":
        authority = target
    elif found and scheme.lower() in ("http", "https"):
        authority = re.split("[/?#]", rest, maxsplit=1)[0]
    else:
        return None
    return _bare_name(authority.rpartition("@")[2])


def _headers(head: bytes) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for line in re.split(r"\r\n|\n|\r", head.decode("latin-1")):
        name, colon, value = line.partition(":")
        if line[:1] in (" ", "\t") and found:
            found[-1] = found[-1][0], f"{found[-1][1]} {line.strip()}"
        elif colon:
            found.append((name.strip(), value.strip()))
    return found


def _first(headers: list[tuple[str, str]], name: str) -> str | None:
    return next((value for found, value in headers if found.lower() == name.lower()), None)
