"""What is shown becomes a verdict in OONI's words; a browser that ends or refuses is a failure, never a hang."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.apps import browser, chromium, neterrors
from testbed.apps.browser import judge
from testbed.apps.connect import Access
from testbed.apps.shown import WAITING, Shown
from testbed.scenario.params import FAILURES, BrowserParams

PAGE = {"status": 200, "protocol": "h2", "remoteIPAddress": "198.19.3.4"}
SEEN = {"title": "news.example", "heading": "news.example", "code": "", "load_ms": 900.0, "ttfb_ms": 700.0}
ERROR = {"title": "news.example", "heading": "This site can’t be reached", "code": "X", "load_ms": 1, "ttfb_ms": 1}


def params(**keys: Any) -> BrowserParams:
    return BrowserParams.model_validate({"url": "https://news.example/", **keys})


def shown(error: str = "", response: dict[str, Any] | None = None, **seen: Any) -> Shown:
    found = {} if error == WAITING else {**({**ERROR, "code": error} if error else SEEN), **seen}
    return Shown(error, found, {**PAGE, **(response or {})} if not error else {}, 2000.0, 1.0)


def test_the_right_page_is_ok_and_slow_when_it_took_long() -> None:
    attempt = judge(params(), shown(), "a-1.png", forged=False)
    assert (attempt.verdict, attempt.kpis["load_s"], attempt.kpis["protocol"]) == ("ok", 0.9, "h2")
    assert attempt.detail == {"screenshot": "a-1.png", "seen": "news.example"}
    assert judge(params(slow_s=0.5), shown(), "a-1.png", forged=False).verdict == "slow"


@pytest.mark.parametrize(
    ("found", "keys", "blocking", "failure"),
    [
        (shown(title="Blocked by order"), {}, "http-diff", None),
        (shown(response={"status": 403}), {}, "http-diff", None),
        (shown(response={"status": 403}), {"status": 403}, None, None),
        (shown(title="Blocked by order"), {"title": "Blocked by order"}, None, None),
        (shown(title="Blocked", response={"remoteIPAddress": "10.10.34.34"}), {}, "dns", None),
        (shown(title="Blocked", response={"remoteIPAddress": "[::1]"}), {}, "dns", None),
        (shown(load_ms=0), {}, "http-failure", "generic_timeout_error"),  # half of it came
    ],
)
def test_another_page_than_the_right_one_is_blocked(
    found: Shown, keys: dict[str, Any], blocking: str | None, failure: str | None
) -> None:
    attempt = judge(params(**keys), found, "a-1.png", forged=False)
    assert (attempt.blocking, attempt.failure) == (blocking, failure)
    assert attempt.verdict == ("ok" if blocking is None else "blocked")


@pytest.mark.parametrize(
    ("error", "failure", "operation", "blocking"),
    [
        ("ERR_CONNECTION_RESET", "connection_reset", "http_round_trip", "http-failure"),
        ("DNS_PROBE_FINISHED_NXDOMAIN", "dns_nxdomain_error", "resolve", "dns"),
        ("ERR_CERT_AUTHORITY_INVALID", "ssl_unknown_authority", "tls_handshake", "http-failure"),
        ("ERR_CONNECTION_TIMED_OUT", "generic_timeout_error", "connect", "tcp_ip"),
        ("ERR_TIMED_OUT", "generic_timeout_error", "http_round_trip", "http-failure"),
        ("ERR_CONNECTION_REFUSED", "connection_refused", "connect", "tcp_ip"),
        ("ERR_BLOCKED_BY_CLIENT", "unknown_failure: ERR_BLOCKED_BY_CLIENT", "http_round_trip", None),
        ("NS_ERROR_NET_RESET", "connection_reset", "http_round_trip", "http-failure"),  # Firefox's
        ("NS_ERROR_UNKNOWN_HOST", "dns_nxdomain_error", "resolve", "dns"),
        ("SEC_ERROR_UNKNOWN_ISSUER", "ssl_unknown_authority", "tls_handshake", "http-failure"),
        (WAITING, "generic_timeout_error", None, None),
    ],
)
def test_an_error_page_becomes_oonis_word(
    error: str, failure: str, operation: str | None, blocking: str | None
) -> None:
    attempt = judge(params(), shown(error), "a-1.png", forged=False)
    assert (attempt.failure, attempt.detail["operation"], attempt.blocking) == (failure, operation, blocking)
    assert (attempt.verdict, attempt.kpis["error"]) == ("blocked", error)
    seen = "nothing: the page is still awaited" if error == WAITING else f"This site can’t be reached, {error}"
    assert attempt.detail["seen"] == seen


def test_what_a_forged_address_does_is_put_down_to_dns() -> None:
    attempt = judge(params(), shown("ERR_CONNECTION_REFUSED"), "a-1.png", forged=True)
    assert (attempt.failure, attempt.blocking) == ("connection_refused", "dns")
    assert attempt.detail["operation"] == "connect to a forged address"


def test_every_error_has_a_word_that_expectations_may_name() -> None:
    for error in neterrors.ERRORS:
        word, _, _ = neterrors.meaning(error)
        assert word in FAILURES or word.startswith("unknown_failure: "), error


def test_the_browser_goes_where_the_scenario_says() -> None:
    told = browser.flags(params(address="198.19.0.10"), Access("ca.pem"))
    assert any(flag.endswith("MAP news.example 198.19.0.10") for flag in told)
    assert "--disable-quic" in told
    told = browser.flags(params(http3=True, tls="1.2"), Access("ca.pem", "socks5://127.0.0.1:1080"))
    assert "--origin-to-force-quic-on=news.example:443" in told
    assert "--disable-quic" not in told
    assert "--ssl-version-max=tls1.2" in told
    assert "--proxy-server=socks5://127.0.0.1:1080" in told


def test_a_page_of_the_browsers_own_maker_can_be_asked_for() -> None:
    told = browser.flags(params(url="https://accounts.google.com/"), Access("ca.pem"))
    assert not any("accounts.google.com ~NOTFOUND" in flag for flag in told)


FAKE = f"""#!{sys.executable}
import json, os
inside, outside = os.fdopen(3, "rb"), os.fdopen(4, "wb")
answers = {{
    "Target.getTargets": {{"result": {{"targetInfos": [{{"type": "page", "targetId": "T"}}]}}}},
    "Target.attachToTarget": {{"result": {{"sessionId": "S"}}}},
    "Page.refuse": {{"error": {{"message": "not today"}}}},
}}
rest = b""
while data := os.read(3, 4096):
    *whole, rest = (rest + data).split(b"\\0")
    for message in map(json.loads, whole):
        if message["method"] == "Page.end":
            raise SystemExit
        usual = {{"result": {{"session": message.get("sessionId")}}}}
        said = [{{"id": message["id"], **answers.get(message["method"], usual)}}]
        if message["method"] == "Page.navigate":
            said.insert(0, {{"method": "Page.lifecycleEvent", "params": {{"name": "init", "loaderId": "L"}}}})
            said.append({{"method": "Page.lifecycleEvent", "params": {{"name": "load", "loaderId": "L"}}}})
        outside.write(b"".join(json.dumps(one).encode() + b"\\0" for one in said))
        outside.flush()
"""


@pytest.fixture
def fake(tmp_path: Path) -> str:
    """A program that speaks the protocol, and nothing else."""
    path = tmp_path / "browser"
    path.write_text(FAKE)
    path.chmod(0o755)
    return str(path)


def test_commands_are_answered_and_events_waited_for(fake: str) -> None:
    async def talk() -> None:
        async with asyncio.timeout(20), chromium.opened(fake) as page:
            assert await page.call("Page.navigate") == {"session": "S"}
            assert await page.event("Page.lifecycleEvent", name="load", loaderId="L")
            with pytest.raises(chromium.BrowserError, match=r"Page\.refuse: not today"):
                await page.call("Page.refuse")

    asyncio.run(talk())


@pytest.mark.parametrize("program", ["fake", "false", "no-such-browser"])
def test_a_browser_that_ends_is_an_error_and_no_hang(fake: str, program: str) -> None:
    async def talk() -> None:
        async with asyncio.timeout(20), chromium.opened(fake if program == "fake" else program) as page:
            await page.call("Page.end")

    with pytest.raises(chromium.BrowserError, match="the browser ended"):
        asyncio.run(talk())
