"""One measurement: what counts as stopped, and what shows nothing. Shapes as in ooni/spec ts-017."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from testbed.ooni.measurement import Forged, Page, Try, read_measurement

ENDPOINT = "192.0.2.10:443"


def measurement(url: str = "https://a.example/", **keys: Any) -> dict[str, Any]:
    """A measurement as a probe writes it, with the helper's success; `keys` replace test keys."""
    control = {
        "tcp_connect": {ENDPOINT: {"status": True, "failure": None}, "[2001:db8::1]:443": {"status": False}},
        "http_request": {"body_length": 9, "failure": None, "title": "t", "headers": {}, "status_code": 200},
        "dns": {"failure": None, "addrs": ["192.0.2.10"]},
    }
    test_keys = {"control": control, "control_failure": None, "dns_consistency": "consistent", "blocking": False}
    return {
        "test_name": "web_connectivity", "input": url, "measurement_start_time": "2022-11-20 08:01:12",
        "probe_cc": "TM", "probe_asn": "AS20661", "test_keys": {**test_keys, **keys},
    }  # fmt: skip


def query(**more: Any) -> dict[str, Any]:
    return {"engine": "system", "hostname": "a.example", "query_type": "A", "failure": None, "answers": None, **more}


def answer(address: str, ttl: int | None = None) -> dict[str, Any]:
    key = "ipv6" if ":" in address else "ipv4"
    return {"answer_type": "AAAA" if ":" in address else "A", key: address, "ttl": ttl}


def tries(**keys: Any) -> tuple[Try, ...]:
    return read_measurement(measurement(**keys)).tries


@pytest.mark.parametrize(
    ("found", "consistency", "end"),
    [
        (query(answers=[answer("127.0.0.1", 300)]), "inconsistent", Forged(("127.0.0.1",), 300)),
        (query(answers=[answer("127.0.0.1"), answer("2001:db8::2")]), "inconsistent",
         Forged(("127.0.0.1", "2001:db8::2"))),
        (query(answers=[answer("192.0.2.99")]), "consistent", None),
        (query(answers=[answer("192.0.2.10"), answer("127.0.0.1")]), "inconsistent", None),
        (query(failure="dns_nxdomain_error"), "inconsistent", "nxdomain"),
        (query(failure="dns_no_answer"), "inconsistent", "noerror"),
        (query(failure="dns_servfail_error"), "inconsistent", "servfail"),
        (query(failure="dns_name_error"), "inconsistent", "nxdomain"),
        (query(failure="dns_bogon_error", answers=[answer("127.0.0.1")]), "inconsistent", Forged(("127.0.0.1",))),
        (query(failure="dns_bogon_error"), "inconsistent", "dns_bogon_error"),
        (query(failure="generic_timeout_error"), "inconsistent", "generic_timeout_error"),
    ],
)  # fmt: skip
def test_questions(found: dict[str, Any], consistency: str, end: object) -> None:
    assert tries(queries=[found], dns_consistency=consistency) == (Try("dns", "a.example", end),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "found",
    [
        query(engine="doh", failure="connection_reset"),
        query(hostname="other.example", failure="dns_nxdomain_error"),
        query(query_type="AAAA", failure="dns_no_answer"),
        query(answers=[{"answer_type": "CNAME", "hostname": "b.example"}]),
        "nonsense",
    ],
)
def test_questions_that_show_nothing(found: Any) -> None:
    assert tries(queries=[found], dns_consistency="inconsistent") == ()


def test_connections_count_only_where_the_helper_connected() -> None:
    entries = [
        {"ip": "192.0.2.10", "port": 443, "status": {"failure": "generic_timeout_error", "success": False}},
        {"ip": "2001:db8::1", "port": 443, "status": {"failure": "generic_timeout_error", "success": False}},
        {"ip": "127.0.0.1", "port": 443, "status": {"failure": "connection_refused", "success": False}},
        {"ip": None, "port": 443, "status": None},
    ]
    assert tries(tcp_connect=entries) == (Try("tcp", ENDPOINT, "generic_timeout_error"),)


@pytest.mark.parametrize(
    ("entry", "consistency", "expected"),
    [
        ({"address": ENDPOINT, "failure": "connection_reset"}, "consistent",
         [Try("tls", "a.example", "connection_reset")]),
        ({"address": ENDPOINT, "failure": None, "server_name": "B.example"}, "consistent",
         [Try("tls", "b.example", None)]),
        ({"address": "127.0.0.1:443", "failure": "connection_reset"}, "inconsistent", []),
        ({"address": ENDPOINT, "failure": "connection_reset"}, "inconsistent",
         [Try("tls", "a.example", "connection_reset")]),
        ({"server_name": "a.example", "failure": "connection_reset"}, "consistent",
         [Try("tls", "a.example", "connection_reset")]),
        ({"server_name": "a.example", "failure": "connection_reset"}, "inconsistent", []),
    ],
)  # fmt: skip
def test_handshakes_are_the_sites_own(entry: dict[str, Any], consistency: str, expected: list[Try]) -> None:
    assert list(tries(tls_handshakes=[entry], dns_consistency=consistency)) == expected


def request(url: str, failure: str | None = None, body: object = "", code: int = 200) -> dict[str, Any]:
    return {"failure": failure, "request": {"url": url, "method": "GET"}, "response": {"body": body, "code": code}}


def test_requests_in_clear_and_the_page_that_came_instead() -> None:
    assert tries(requests=[request("http://a.example/", "connection_reset")]) == (
        Try("http", "a.example", "connection_reset"),
    )
    page = "<html><TITLE>\n Access  denied </TITLE></html>"
    redirected = [request("http://page.example/", None, page, 403), request("http://a.example/", None, "", 302)]
    assert tries(requests=redirected, blocking="http-diff") == (
        Try("http", "page.example", Page(403, "Access denied", page)),
        Try("http", "a.example", None),
    )
    assert tries(requests=[request("https://a.example/", "connection_reset")]) == (
        Try("tls", "a.example", "connection_reset"),
    ), "an old probe tells no handshakes"
    binary = {"format": "base64", "data": "AQI="}
    (found,) = tries(requests=[request("http://a.example/", None, binary, 200)], blocking="http-diff")
    assert found.end == Page(200, "", "")


def test_a_page_that_is_not_utf8_is_read_as_it_says() -> None:
    page = '<meta charset="windows-1251"><title>Доступ ограничен</title>'
    body = {"format": "base64", "data": base64.b64encode(page.encode("cp1251")).decode()}
    (found,) = tries(requests=[request("http://a.example/", None, body, 403)], blocking="http-diff")
    assert found.end == Page(403, "Доступ ограничен", page)
    wrong = {"format": "base64", "data": base64.b64encode(b"<p charset=nonsense>").decode()}
    (found,) = tries(requests=[request("http://a.example/", None, wrong, 403)], blocking="http-diff")
    assert found.end == Page(403, "", "")


def test_older_words_mean_todays() -> None:
    entry = {"ip": "192.0.2.10", "port": 443, "status": {"failure": "tcp_timed_out_error", "success": False}}
    went_well = {"ip": "192.0.2.10", "port": 443, "status": {"failure": False, "success": True}}
    assert [found.end for found in tries(tcp_connect=[entry, went_well])] == ["generic_timeout_error", None]
    (found,) = tries(requests=[request("http://a.example/", "response_never_received")])
    assert found.end == "response_never_received", "it may have been reset or closed"


@pytest.mark.parametrize("keys", [{"control": {}}, {"control": None}, {"control_failure": "generic_timeout_error"}])
def test_without_the_helper_nothing_is_compared(keys: dict[str, Any]) -> None:
    found = read_measurement(measurement(queries=[query(answers=[answer("127.0.0.1")])], dns_consistency=None, **keys))
    assert (found.compared, found.tries) == (False, ())


@pytest.mark.parametrize("key", ["test_keys", "input", "measurement_start_time"])
def test_what_is_missing_is_named(key: str) -> None:
    data = measurement()
    del data[key]
    with pytest.raises(ValueError, match=key):
        read_measurement(data)


def test_names_are_compared_as_policies_write_them() -> None:
    found = read_measurement(measurement("https://Пример.рф/", queries=[query(hostname="пример.рф", answers=[])]))
    assert found.tries == ()
    handshake = [{"address": ENDPOINT, "failure": None}]
    (tried,) = read_measurement(measurement("https://Пример.рф/", tls_handshakes=handshake)).tries
    assert tried.subject == "xn--e1afmkfd.xn--p1ai"
