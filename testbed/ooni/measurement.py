"""One OONI web_connectivity measurement, read for what it shows: which tries were made, and how each one ended.

Formats: ooni/spec df-000 (base), ts-017 (web_connectivity), df-001 (HTTP), df-002 (DNS), df-005 (TCP), df-006 (TLS).
Each try is compared with the test helper's, made from outside the country at the same time: only where the helper
succeeded does a failure speak of a censor. A measurement without the helper's answer shows nothing.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from testbed.dpi.names import check_pattern

RESET, TIMEOUT, CLOSED, REFUSED = "connection_reset", "generic_timeout_error", "eof_error", "connection_refused"
_DNS_FAILURES = {
    "dns_nxdomain_error": "nxdomain", "dns_no_answer": "noerror", "dns_servfail_error": "servfail",
    "dns_refused_error": "refused", "dns_server_misbehaving": "servfail", TIMEOUT: TIMEOUT,
}  # fmt: skip
_OLDER_WORDS = {
    "connection_refused_error": REFUSED, "connection_done": CLOSED, "tcp_timed_out_error": TIMEOUT,
    "deferred_timeout_error": TIMEOUT, "dns_name_error": "dns_nxdomain_error", "dns_name_failure": "dns_servfail_error",
    "dns_server_failure": "dns_servfail_error",
}  # fmt: skip
"""The words of ooniprobe 1 and 2 (df-007) that mean one of today's; the others of them have no single meaning."""
_BOGON = "dns_bogon_error"
_OWN_RESOLVERS = {"doh", "dot", "odoh"}
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_CHARSET = re.compile(rb"charset=[\"']?([\w.:-]+)", re.IGNORECASE)
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f]")
_LONGEST_PAGE = 8192
_LONGEST_TTL_S = (1 << 31) - 1
"""RFC 2181 §8; more, or less than 0, is no time to live."""


@dataclass(frozen=True, slots=True)
class Forged:
    """The addresses of an answer that the test helper never got; `ttl_s` where the probe saw it."""

    addresses: tuple[str, ...]
    ttl_s: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page that came instead of the true one."""

    status: int
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Try:
    """One try and its end.

    `way`: dns, tcp, tls or http. `subject`: a name, for tcp an endpoint `198.18.0.1:443`. `end`: None if it went as the
    helper's did, else how it was stopped: an OONI failure word, a DNS response code, a `Forged` answer or a `Page`.
    """

    way: str
    subject: str
    end: str | Forged | Page | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a measurement tells: where and when it was made, what it tried, and the words OONI itself found for it."""

    country: str
    network: str
    day: str
    url: str
    blocking: str
    confirmed: bool
    tries: tuple[Try, ...]
    compared: bool
    """Whether the test helper answered."""


def read_measurement(data: Mapping[str, Any]) -> Measurement:
    """Read a web_connectivity measurement; `ValueError` says what it lacks."""
    keys = data.get("test_keys")
    if not isinstance(keys, dict):
        raise ValueError("no `test_keys`; give measurements as OONI publishes them")
    url = data.get("input")
    if not isinstance(url, str) or not url:
        raise ValueError("no `input`; give measurements as OONI publishes them")
    day = str(data.get("measurement_start_time", ""))[:10]
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", day):
        raise ValueError("no `measurement_start_time`; give measurements as OONI publishes them")
    control = keys.get("control")
    compared = isinstance(control, dict) and bool(control) and not keys.get("control_failure")
    reader = _Reader(keys, control if isinstance(control, dict) else {}, _name(url))
    return Measurement(
        str(data.get("probe_cc", "ZZ")).upper(), str(data.get("probe_asn", "AS0")).upper(), day, url,
        str(keys.get("blocking")), data.get("confirmed") is True, tuple(reader.tries()) if compared else (), compared,
    )  # fmt: skip


class _Reader:
    """Compares the probe's tries with the helper's, part by part."""

    def __init__(self, keys: Mapping[str, Any], control: Mapping[str, Any], name: str) -> None:
        self._keys, self._name = keys, name
        self._true = {text for text in _list(_dict(control, "dns"), "addrs") if isinstance(text, str)}
        self._connected = _dict(control, "tcp_connect")
        self._shaken = _dict(control, "tls_handshake")
        self._page = _dict(control, "http_request")

    def tries(self) -> Iterator[Try]:
        """Yield every try that can be compared."""
        yield from self._questions()
        yield from self._connections()
        yield from self._handshakes()
        yield from self._requests()

    def _questions(self) -> Iterator[Try]:
        if not self._name or not self._true:
            return
        consistent = self._keys.get("dns_consistency") in ("consistent", "reverse_match")
        for query in _dicts(self._keys, "queries"):
            if query.get("engine") in _OWN_RESOLVERS or _clean(query.get("hostname")) != self._name:
                continue
            failure = _failure(query)
            if failure is not None and not (failure == _BOGON and query.get("answers")):
                if query.get("query_type") != "AAAA":  # many a name has no AAAA record; that is no block
                    yield Try("dns", self._name, None if consistent else _DNS_FAILURES.get(failure, failure))
                continue
            answers = [a for a in _dicts(query, "answers") if a.get("answer_type") in ("A", "AAAA")]
            found = tuple(
                sorted({str(a.get("ipv4") or a.get("ipv6")) for a in answers if a.get("ipv4") or a.get("ipv6")})
            )
            if not found:
                continue
            forged = tuple(text for text in found if text not in self._true and _is_address(text))
            if len(forged) < len(found) or consistent:
                yield Try("dns", self._name, None)
            else:
                ttls = [a["ttl"] for a in answers if type(a.get("ttl")) is int and 0 <= a["ttl"] <= _LONGEST_TTL_S]
                yield Try("dns", self._name, Forged(forged, ttls[0] if ttls else None))

    def _connections(self) -> Iterator[Try]:
        for entry in _dicts(self._keys, "tcp_connect"):
            status, address, port = _dict(entry, "status"), entry.get("ip"), entry.get("port")
            if not isinstance(address, str) or not isinstance(port, int) or not _is_address(address):
                continue
            endpoint = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            if _dict(self._connected, endpoint).get("status") is not True:
                continue  # the helper could not connect either, or was not asked
            yield Try("tcp", endpoint, _failure(status))

    def _handshakes(self) -> Iterator[Try]:
        for entry in _dicts(self._keys, "tls_handshakes"):
            endpoint = str(entry.get("address") or "")  # probes of 2020 and 2021 tell none
            name = _clean(entry.get("server_name")) or self._name
            if not name or not self._is_genuine(endpoint):
                continue
            helper = _dict(self._shaken, endpoint)
            works = helper.get("status") is True if helper else self._page and self._page.get("failure") is None
            if works:
                yield Try("tls", name, _failure(entry))

    def _requests(self) -> Iterator[Try]:
        """Yield the tries in clear, and those over TLS of old probes that tell no handshakes."""
        if self._page.get("failure") is not None or not self._page:
            return
        different = self._keys.get("blocking") == "http-diff"
        handshakes = any(True for _ in _dicts(self._keys, "tls_handshakes"))
        for index, entry in enumerate(_dicts(self._keys, "requests")):
            url = urlsplit(str(_dict(entry, "request").get("url", "")))
            name, failure = _name(url.geturl()), _failure(entry)
            if not name or url.scheme not in ("http", "https") or self._keys.get("dns_consistency") == "inconsistent":
                continue
            if url.scheme == "https" and (handshakes or failure is None):
                continue
            way = "http" if url.scheme == "http" else "tls"
            if failure is not None:
                if not failure.startswith("dns_"):
                    yield Try(way, name, failure)
            else:
                yield Try(way, name, _page_of(_dict(entry, "response")) if different and index == 0 else None)

    def _is_genuine(self, endpoint: str) -> bool:
        """Say whether an endpoint, empty if the probe tells none, is the site's own, and not where a forgery led."""
        address = endpoint.rpartition(":")[0].strip("[]")
        return address in self._true or self._keys.get("dns_consistency") == "consistent"


def _failure(entry: Mapping[str, Any]) -> str | None:
    """Return how a try failed, in today's words; None if it went well."""
    failure = entry.get("failure")
    return _OLDER_WORDS.get(str(failure), str(failure)) if failure else None


def _page_of(response: Mapping[str, Any]) -> Page:
    text = _text(response.get("body"))
    title = _TITLE.search(text)
    status = response.get("code")
    clean = " ".join(title[1].split()) if title else ""
    known = status if type(status) is int and 100 <= status < 600 else 0
    return Page(known, clean, text[:_LONGEST_PAGE])


def _text(body: object) -> str:
    """Return a page's text; what isn't UTF-8 is published as base64 (df-001) and read as the page says."""
    if isinstance(body, str):
        return body
    try:
        raw = base64.b64decode(body["data"]) if isinstance(body, dict) and body.get("format") == "base64" else b""
        told = _CHARSET.search(raw[:2048])
        text = raw.decode(told[1].decode() if told else "latin-1", "replace")
    except (KeyError, TypeError, ValueError, LookupError):
        return ""
    return "" if _NO_TEXT.search(text) else text


def _name(url: str) -> str:
    """Return the name in a URL, empty if it is an address or none."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return ""
    return _clean(host)


def _clean(host: object) -> str:
    """Return a name as policies compare it, empty for addresses and for what is no name."""
    if not isinstance(host, str) or not host or _is_address(host):
        return ""
    try:
        return check_pattern(f"={host}")[1:]
    except ValueError:
        return ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _dict(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = data.get(key)
    return found if isinstance(found, dict) else {}


def _list(data: Mapping[str, Any], key: str) -> list[Any]:
    found = data.get(key)
    return found if isinstance(found, list) else []


def _dicts(data: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    return (item for item in _list(data, key) if isinstance(item, dict))
