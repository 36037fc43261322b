"""Sloppy requests under each knob, well-formed ones against the standard library's server."""

from __future__ import annotations

import io
import time
from http.server import BaseHTTPRequestHandler

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.wire.http import Knobs, parse_request, parse_requests, parse_response

NAME = "twitter.com"
HOST = f"Host: {NAME}\r\n".encode()
#: Everything that a server may forgive
SERVER = Knobs(
    leading_newline=True, space_after_version=True, space_before_host=True, longest_host=8000, leading_space=True,
    several_spaces=True, lower_case_method=True, any_method=True, any_version=True, bare_cr=True,
    space_before_colon=True, space_before_name=True, folded_headers=True, target_host=True,
)  # fmt: skip

#: form → (what is sent, the knobs that alone make the host seen)
SLOPPY: dict[str, tuple[bytes, Knobs]] = {
    "newline-before-method": (b"\nGET / HTTP/1.1\r\n" + HOST, Knobs(leading_newline=True)),
    "crlf-before-method": (b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST, Knobs(leading_newline=True)),
    "blank-before-method": (b" \tGET / HTTP/1.1\r\n" + HOST, Knobs(leading_space=True)),
    "space-after-version": (b"GET / HTTP/1.1 \n\t\r\n" + HOST, Knobs(space_after_version=True)),
    "blank-after-version": (b"GET / HTTP/1.1  \r\n" + HOST, Knobs(space_after_version=True)),
    "two-blanks": (b"GET  /  HTTP/1.1\r\n" + HOST, Knobs(several_spaces=True)),
    "tabs": (b"GET\t/\tHTTP/1.1\r\n" + HOST, Knobs(several_spaces=True)),
    "space-before-host": (b"GET / HTTP/1.1\r\nHost: \t\ntwitter.com\r\n\r\n", Knobs(space_before_host=True)),
    "two-blanks-before-host": (b"GET / HTTP/1.1\r\nHost:  twitter.com\r\n\r\n", Knobs(space_before_host=True)),
    "padded-host": (b"GET / HTTP/1.1\r\nHost: twitter.com" + b" " * 3391 + b"\r\n\r\n", Knobs(longest_host=4000)),
    "lower-case-method": (b"get / HTTP/1.1\r\n" + HOST, Knobs(lower_case_method=True)),
    "unknown-method": (b"FETCH / HTTP/1.1\r\n" + HOST, Knobs(any_method=True)),
    "listed-method": (b"PROPFIND / HTTP/1.1\r\n" + HOST, Knobs(methods=(b"GET", b"PROPFIND"))),
    "odd-version": (b"GET / HTTP/9.9\r\n" + HOST, Knobs(any_version=True)),
    "no-version": (b"GET /\r\n" + HOST, Knobs(no_version=True)),
    "bare-cr": (b"GET / HTTP/1.1\rHost: twitter.com\r\r", Knobs(bare_cr=True)),
    "space-before-colon": (b"GET / HTTP/1.1\r\nHost : twitter.com\r\n\r\n", Knobs(space_before_colon=True)),
    "indented-name": (b"GET / HTTP/1.1\r\n Host: twitter.com\r\n\r\n", Knobs(space_before_name=True)),
    "folded-host": (b"GET / HTTP/1.1\r\nHost:\r\n twitter.com\r\n\r\n", Knobs(folded_headers=True)),
    "absolute-target": (b"GET http://me@twitter.com:80/x HTTP/1.1\r\nHost: ok\r\n\r\n", Knobs(target_host=True)),
    "connect": (b"CONNECT twitter.com:443 HTTP/1.1\r\nHost: ok\r\n\r\n", Knobs(target_host=True)),
    "second-host": (b"GET / HTTP/1.1\r\nHost: ok\r\nX: y\r\nHost: twitter.com\r\n\r\n", Knobs(duplicate_host="last")),
    "no-request": (b"ter.com HTTP/1.1\r\nhost: twitter.com\r\n\r\n", Knobs(host_without_request=True)),
}  # fmt: skip
#: What every set of knobs that does not forbid it reads, and the one that does
PLAIN: dict[str, tuple[bytes, Knobs]] = {
    "bare-lf": (b"GET / HTTP/1.1\nHost: twitter.com\n\n", Knobs(bare_lf=False)),
    "name-variant": (b"GET / HTTP/1.1\r\nhOsT:twitter.com\r\n\r\n", Knobs(exact_name=True)),
    "unfinished-line": (b"GET / HTTP/1.1\r\nHost: twitter.com", Knobs(whole_line=True)),
    "first-of-two": (b"GET / HTTP/1.1\r\nHost: twitter.com\r\nHost: ok\r\n\r\n", Knobs(duplicate_host="last")),
    "with-port-and-dot": (b"GET / HTTP/1.1\r\nHost: TWITTER.com.:8080\r\n\r\n", Knobs(longest_host=5)),
}


def host(content: bytes, knobs: Knobs) -> str | None:
    request = parse_request(content, knobs)
    return request.host if request else None


@pytest.mark.parametrize(("content", "knobs"), SLOPPY.values(), ids=SLOPPY)
def test_one_knob_makes_a_sloppy_form_seen(content: bytes, knobs: Knobs) -> None:
    assert host(content, Knobs()) != NAME
    assert host(content, knobs) == NAME
    assert host(memoryview(content), knobs) == NAME  # type: ignore[arg-type]


@pytest.mark.parametrize(("content", "knobs"), PLAIN.values(), ids=PLAIN)
def test_one_knob_makes_a_plain_form_unseen(content: bytes, knobs: Knobs) -> None:
    assert host(content, Knobs()) == NAME
    assert host(content, knobs) != NAME


@pytest.mark.parametrize("form", sorted({*SLOPPY} - {"second-host", "no-version", "no-request"}))
def test_a_forgiving_server_sees_them_all(form: str) -> None:
    assert host(SLOPPY[form][0], SERVER) == NAME


def test_the_next_header_is_no_host() -> None:
    content = b"GET / HTTP/1.1\r\nHost:\r\nAccept: text/html\r\n\r\n"
    assert host(content, Knobs()) is None
    assert host(content, Knobs(space_before_host=True)) is None


def test_a_host_behind_the_headers_is_body() -> None:
    content = b"POST / HTTP/1.1\r\nContent-Length: 19\r\n\r\nHost: twitter.com\r\n"
    for knobs in (Knobs(), Knobs(bare_cr=True), Knobs(bare_lf=False), SERVER):
        assert host(content, knobs) is None
    assert host(b"GET / HTTP/1.1\r\n\r\nHost: twitter.com\r\n", SERVER) is None


def test_pipelined_requests() -> None:
    content = (
        b"POST /a HTTP/1.1\r\nHost: ok\r\nContent-Length: 5\r\n\r\nhello"
        b"GET /b HTTP/1.1\r\nHost: twitter.com\r\n\r\n"
        b"GET /c HTTP/1.1\r\nHost: cut"
    )
    assert [request.target for request in parse_requests(content)] == ["/a"]
    found = list(parse_requests(content, Knobs(pipelined=True)))
    assert [(request.target, request.host) for request in found] == [("/a", "ok"), ("/b", NAME), ("/c", "cut")]
    assert found[2].end is None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"[2001:db8::1]:80", "[2001:db8::1]"), (b"EXAMPLE.org:8080", "example.org"), (b"a.example.", "a.example"),
        (b"", None), (b":80", None), (b"\xe9.example", "\xe9.example"), (b"a b", "a b"),
    ],
)  # fmt: skip
def test_host_values(written: bytes, read: str | None) -> None:
    assert host(b"GET / HTTP/1.1\r\nHost: " + written + b"\r\n\r\n", Knobs()) == read


@pytest.mark.parametrize(
    "content",
    [
        b"", b"GET", b"GET /", b"GET / HTTP/1.1x\r\n", b"GETS / HTTP/1.1\r\n", b"\x16\x03\x01", b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-x\r\n", b"POST\r\n\r\n", b"GET / HTTP/2.0\r\n",
    ],
)  # fmt: skip
def test_what_is_no_request(content: bytes) -> None:
    assert parse_request(content) is None


token = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", min_size=1, max_size=12)
value = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)


class Parsed(BaseHTTPRequestHandler):
    """The standard library's reading of a request."""

    def __init__(self, content: bytes) -> None:
        self.rfile, self.wfile = io.BytesIO(content), io.BytesIO()
        self.raw_requestline = self.rfile.readline()
        self.understood = self.parse_request()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@given(
    st.sampled_from(["GET", "POST", "DELETE", "OPTIONS"]), value.map(lambda text: "/" + text),
    st.sampled_from(["HTTP/1.0", "HTTP/1.1"]), st.lists(st.tuples(token, value), max_size=6), st.booleans(),
)  # fmt: skip
def test_well_formed_requests_as_the_standard_library(
    method: str, target: str, version: str, headers: list[tuple[str, str]], named: bool
) -> None:
    headers = [*headers, ("Host", "a.example")] if named else headers
    text = f"{method} {target} {version}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
    request, other = parse_request(text.encode()), Parsed(text.encode())
    assert request is not None and other.understood
    assert (request.method, request.target) == (other.command, target)
    # the library folds slashes at the beginning into one (a guard against redirects to `//host`); we don't
    assert "/" + target.lstrip("/") == other.path if target.startswith("//") else target == other.path
    assert request.version == other.request_version
    assert request.headers == [(name, value.strip()) for name, value in other.headers.items()]
    for name, _ in headers:
        assert request.header(name.upper()) == (other.headers[name] or "").strip()
    assert request.end == len(text)
    assert parse_request(text.encode(), SERVER) is not None


knob_sets = st.builds(
    Knobs,
    **{name: st.booleans() for name in (
        "leading_newline", "space_after_version", "space_before_host", "leading_space", "several_spaces", "any_method",
        "lower_case_method", "any_version", "no_version", "bare_lf", "bare_cr", "space_before_colon", "whole_line",
        "space_before_name", "exact_name", "folded_headers", "target_host", "host_without_request", "pipelined",
    )},
    duplicate_host=st.sampled_from(["first", "last", "any"]),
)  # fmt: skip
fragments = st.lists(
    st.sampled_from([b"GET", b" ", b"/", b"HTTP/1.1", b"\r", b"\n", b"\r\n", b"Host", b":", b"a.b", b"\t", b"x" * 9])
    | st.binary(max_size=4),
    max_size=25,
).map(b"".join)


@given(fragments, knob_sets)
def test_nothing_raises_and_pipelines_end(content: bytes, knobs: Knobs) -> None:
    for request in parse_requests(content, knobs):
        assert request.headers is not None and (request.host is None or request.host == request.host.lower())


@pytest.mark.parametrize("content", [b"GET / HTTP/1.1" + b" \n" * 30000, b"GET / HTTP/1.1\r\n" + b"Host:" * 12000])
def test_hostile_requests_take_no_time(content: bytes) -> None:
    begun = time.process_time()
    parse_request(content, SERVER)
    assert time.process_time() - begun < 1


def test_answers() -> None:
    found = parse_response(b"HTTP/1.1 302 Moved here\r\nX: 1\r\nlocation: http://block.example/\r\n\r\n<html>")
    assert found is not None
    assert (found.version, found.status, found.reason, found.body) == ("HTTP/1.1", 302, "Moved here", b"<html>")
    assert found.location == "http://block.example/" and found.headers[0] == ("X", "1")
    bare = parse_response(b"HTTP/1.0 200\n\nbody")
    assert bare is not None and (bare.reason, bare.headers, bare.body) == ("", [], b"body")
    cut = parse_response(b"HTTP/1.1 200 OK\r\nServer: x\r\nLoca")
    assert cut is not None and (cut.headers, cut.location, cut.body) == ([("Server", "x")], None, b"")
    for content in (b"", b"HTTP/1.1 200 OK", b"HTTP/2 200\r\n", b"GET / HTTP/1.1\r\n", b"HTTP/1.1 20 OK\r\n"):
        assert parse_response(content) is None
