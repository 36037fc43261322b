"""Every control of the page in a real Chromium, over a run whose sockets answer: what is seen is what was done."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.dashboard.fakes import FakeRun

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.live,
    pytest.mark.alone,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, as `testbed doctor` says; run scripts/browser"),
]
WITHIN_MS = 1000
"""An effect is there within a second."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def serving(run: Path, port: int = 0) -> Iterator[str]:
    """Serve the page of a run as the command does; yield its address with the token."""
    process = subprocess.Popen(
        [sys.executable, "-m", "testbed.cli.main", "dashboard", str(run), "--port", str(port)],
        stderr=subprocess.PIPE, text=True, cwd=run.parent,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found is not None, line
        yield found[0]
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()


@pytest.fixture
def page(browser: Browser, fake: FakeRun) -> Iterator[Page]:
    with serving(fake.directory.path) as address:
        context = browser.new_context(viewport={"width": 1400, "height": 1400})
        context.set_default_timeout(5000)
        found = context.new_page()
        complaints: list[str] = []
        found.on("pageerror", lambda error: complaints.append(str(error)))
        found.on("console", lambda message: complaints.append(message.text) if _is_complaint(message) else None)
        found.goto(address)
        expect(found.locator(".badge.running")).to_be_visible()
        yield found
        context.close()
    assert complaints == []


def _is_complaint(message: ConsoleMessage) -> bool:
    """Say whether the console shows a fault of the page; that a request was refused is what some tests want."""
    return message.type == "error" and "Failed to load resource" not in message.text


def soon(holds: Callable[[], bool]) -> None:
    """Wait until something holds, at most a second."""
    deadline = time.monotonic() + WITHIN_MS / 1000
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_censor_is_worked(page: Page, fake: FakeRun) -> None:
    page.select_option("#policy", "tm-2022")
    rule = page.locator("[data-rule=tls-sni]")
    expect(rule).to_be_checked(timeout=WITHIN_MS)
    expect(page.locator("#map")).to_contain_text("tm-2022", timeout=WITHIN_MS)
    rule.uncheck()
    soon(lambda: fake.disabled == {"tls-sni"})
    rule.check()
    soon(lambda: fake.disabled == set())
    for _ in range(3):  # word of the first tick comes while the next is made
        rule.uncheck()
        rule.check()
    page.wait_for_timeout(1500)
    expect(rule).to_be_checked()
    assert fake.disabled == set()
    page.fill("#block-name", "example.com")
    page.press("#block-name", "Enter")
    passing = page.locator("[data-unblock='example.com']")
    expect(passing).to_be_visible(timeout=WITHIN_MS)
    assert fake.blocked == ["example.com"]
    expect(page.locator("#block-name")).to_have_value("")
    passing.click()
    expect(passing).to_have_count(0, timeout=WITHIN_MS)
    assert fake.blocked == []
    page.fill("#block-name", "no name")
    page.click("#block")
    expect(page.locator("#notice")).to_contain_text("domain name", timeout=WITHIN_MS)
    expect(page.locator("#block-name")).to_have_value("no name")  # it can be mended


def test_a_refusal_is_seen_where_one_is(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 700})
    page.fill("#block-name", "no name")
    page.click("#block")
    expect(page.locator("#notice")).to_be_in_viewport(ratio=0.99, timeout=WITHIN_MS)


def test_the_link_is_worked(page: Page, fake: FakeRun) -> None:
    expect(page.locator("#map")).to_contain_text("500 kbit/s")
    page.click("[data-rate='20']")
    expect(page.locator("#map")).to_contain_text("20 Mbit/s", timeout=WITHIN_MS)
    assert fake.link["down"]["rate"] == "20000000.0 bit/s"
    page.focus("#rate")
    page.keyboard.press("Home")
    expect(page.locator("#map")).to_contain_text("500 kbit/s", timeout=WITHIN_MS)
    assert fake.link["up"]["rate"] == "500000.0 bit/s"
    before = fake.link
    page.click("#cut")
    expect(page.locator(".pipe.cut")).to_be_visible(timeout=WITHIN_MS)
    assert fake.link["down"]["loss"] == 1.0
    expect(page.locator("#cut")).to_have_text("Bring the network back")
    page.click("#cut")
    expect(page.locator(".pipe.cut")).to_have_count(0, timeout=WITHIN_MS)
    assert fake.link == before


def test_the_timeline_is_worked_and_the_run_ended(page: Page, fake: FakeRun) -> None:
    expect(page.locator(".steps .coming")).to_contain_text("phase dark")
    page.click("#hold")
    expect(page.locator("#hold")).to_have_text("Go on", timeout=WITHIN_MS)
    expect(page.locator("#head")).to_contain_text("held")
    page.click("#next")
    expect(page.locator("#head")).to_contain_text("phase dark", timeout=WITHIN_MS)
    expect(page.locator("#policy")).to_have_value("tm-2023-08", timeout=WITHIN_MS)
    page.click("#hold")
    expect(page.locator("#hold")).to_have_text("Hold", timeout=WITHIN_MS)
    expect(page.locator("#head")).to_contain_text("steered by hand")
    page.click("#stop")
    expect(page.locator(".badge.ended")).to_have_text("interrupted")
    expect(page.locator("#start")).to_be_enabled()
    for _ in ("released", "dark", "pushed"):
        page.click("#step-back")
    expect(page.locator("#head")).not_to_contain_text("phase dark", timeout=WITHIN_MS)
    page.click("#step-on")  # the step by hand and the step it pushed
    page.click("#step-on")
    expect(page.locator("#head")).to_contain_text("phase dark", timeout=WITHIN_MS)
    page.select_option("#scenario", "imo-goes-dark")
    expect(page.locator("#controls")).to_contain_text("the last messenger that worked")


def test_apps_and_decisions_are_shown_as_they_come(page: Page, fake: FakeRun) -> None:
    fake.attempt("text", "ok")
    fake.attempt("photo", "blocked", "connection_reset")
    fake.decide(1)
    fake.decide(2, rule="stun", verdict="drop")
    expect(page.locator(".tile.ok")).to_contain_text("text", timeout=WITHIN_MS)
    expect(page.locator(".tile.blocked")).to_contain_text("connection_reset", timeout=WITHIN_MS)
    expect(page.get_by_role("img", name="Attempts so far: blocked")).to_have_count(1)
    rows = page.locator("#decisions tbody tr")
    expect(rows).to_have_count(2, timeout=WITHIN_MS)
    expect(rows.nth(0)).to_contain_text("stun")
    expect(rows.nth(1)).to_contain_text("site1.example")
    fake.attempt("text10", "ok")
    fake.attempt("text9", "ok")
    expect(page.locator(".tile h3")).to_contain_text(["photo", "text", "text9", "text10"], timeout=WITHIN_MS)
    page.select_option("#rule-filter", "tls-sni")
    expect(rows).to_have_count(1)
    page.select_option("#rule-filter", "")
    page.click("#freeze")
    fake.decide(3)
    expect(page.locator("#rule-filter")).to_contain_text("all (3)", timeout=WITHIN_MS)
    expect(rows).to_have_count(2)
    page.click("#freeze")
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Frame of decision 3").click()
    expect(page.get_by_role("dialog")).to_contain_text("tls-sni")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.locator("#rate-plot canvas").count() == 1
    assert page.locator("#rate-plot .u-legend th").all_inner_texts() == ["up", "down", "limit"]
    assert page.locator("#queue-plot .u-legend th").all_inner_texts() == ["up", "down"]


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_packets_run_along_the_cables(page: Page, fake: FakeRun, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 1080})
    for number in range(20):  # a packet is 1.4 s on its way to the provider's router, then 0.7 s to the box
        fake.decide(number)
        page.wait_for_timeout(100)
    # painted pixels between the provider's router and the box, whose cable is level: how far are they from it?
    off = page.evaluate("""() => {
        const map = document.getElementById("map"), canvas = document.getElementById("dots");
        const ends = [...map.querySelectorAll("text")].filter((text) => ["isp", "gateway"].includes(text.textContent));
        const [left, right] = ends.map((text) => new DOMPoint().matrixTransform(text.parentNode.getScreenCTM()));
        const place = canvas.getBoundingClientRect(), ratio = canvas.width / place.width;
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        const found = [];
        for (let y = 0; y < canvas.height; y += 1)
            for (let x = Math.ceil((left.x - place.x) * ratio); x < (right.x - place.x) * ratio; x += 1)
                if (pixels[(y * canvas.width + x) * 4 + 3]) found.push(Math.abs(y / ratio + place.y - left.y));
        return found.length ? Math.max(...found) : null;
    }""")
    assert off is not None
    assert off < 9


def test_a_reload_keeps_the_token_and_the_state(page: Page, fake: FakeRun) -> None:
    fake.decide(1)
    assert "#" not in page.url
    page.reload()
    expect(page.locator("#decisions tbody tr")).to_have_count(1)
    page.click("#cut")
    expect(page.locator(".pipe.cut")).to_be_visible(timeout=WITHIN_MS)


def test_who_has_no_token_looks_on(browser: Browser, fake: FakeRun) -> None:
    with serving(fake.directory.path) as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(address.partition("#")[0])
        expect(page.locator(".badge.running")).to_be_visible()
        expect(page.locator("#controls")).to_contain_text("You look on")
        for control in ("#stop", "#hold", "#cut", "#rate", "#policy", "#block"):
            expect(page.locator(control)).to_be_disabled()
        context.close()


def test_a_lost_connection_is_said_and_comes_back(browser: Browser, fake: FakeRun) -> None:
    context = browser.new_context()
    page = context.new_page()
    with serving(fake.directory.path) as address:
        page.goto(address)
        expect(page.locator(".badge.running")).to_be_visible()
    expect(page.locator("#head")).to_contain_text("connection lost")
    fake.decide(5)
    with serving(fake.directory.path, int(address.rpartition(":")[2].partition("/")[0])):
        expect(page.locator("#head .lamp.on")).to_be_visible(timeout=10_000)
        expect(page.locator("#decisions tbody tr")).to_have_count(1)
        page.click("#cut")
        expect(page.locator("#notice")).to_contain_text("token", timeout=2000)
    context.close()


def test_it_is_worked_by_keyboard_and_named_for_readers(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the controls")).to_be_focused()
    page.keyboard.press("Enter")
    reached = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"stop", "hold", "next", "rate", "cut", "policy"} <= reached
    for role, name in (
        ("button", "Take the network down"), ("slider", re.compile("^Rate")), ("combobox", "Policy"),
        ("combobox", "Scenario"), ("textbox", "Block a name"), ("region", "Decisions, the latest first"),
    ):  # fmt: skip
        expect(page.get_by_role(role, name=name)).to_have_count(1)  # type: ignore[arg-type]
    expect(page.locator("#map-words")).to_contain_text("Run running.")


@pytest.mark.parametrize("width", [360, 800, 1920])
def test_nothing_sticks_out_at_any_width(page: Page, fake: FakeRun, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    name = f"{'a' * 63}.{'b' * 63}.example"
    page.fill("#block-name", name)
    page.click("#block")
    expect(page.locator(".steps")).to_contain_text(name, timeout=WITHIN_MS)
    fake.attempt("n" * 200, "blocked", "f" * 300)
    fake.decide(1, rule="r" * 300)
    expect(page.locator("#rule-filter")).to_contain_text("rrr", timeout=WITHIN_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Frame of decision 1").click()
    assert (
        page.evaluate("(() => { const d = document.getElementById('frame'); return d.scrollWidth - d.clientWidth; })()")
        <= 0
    )
    page.keyboard.press("Escape")
    inside = page.locator("body").bounding_box()
    assert inside is not None
    for part in ("#head", "#country", "#apps", "#link", "#stream", "#controls"):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width + 1, part
