"""The four forms of one result agree and survive hostile text."""

from __future__ import annotations

import base64
import json
import re
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from testbed.link import fidelity
from testbed.report import html, junit, text
from testbed.report.tables import load_run
from tests.report.runs import decision, result, written


def test_text_shows_each_app_in_each_phase() -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(text.render(result()))
    console.file.close()
    shown = console.export_text()
    for word in ("slow", "2.5 s", "connection_reset", "1 of 2 expectations hold", "<reset>", "sni 1"):
        assert word in shown


def test_junit_counts_what_failed() -> None:
    suite = ElementTree.fromstring(junit.render(result()))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "<reset>"


@pytest.mark.parametrize("status", ["invalid", "interrupted"])
def test_junit_is_never_green_for_a_run_that_proves_nothing(status: str) -> None:
    suite = ElementTree.fromstring(junit.render(result(status)))
    assert suite.get("errors") == "1"


def test_html_is_whole_and_escapes_what_it_shows(tmp_path: Path) -> None:
    run = load_run(written(tmp_path / "run", events=[decision(11.1, "tcp 100.64.1.1:4 > 198.18.0.20:443")] * 501))
    page = html.render(run)
    assert "<script" not in page
    assert "<img>" not in page
    assert "connection_reset" in page
    assert "1 more in" in page
    for fetched in ("http://", "https://", "@import", "url(http", "<link"):
        assert fetched not in page


def test_html_draws_every_plot_in_the_colours_of_the_page(tmp_path: Path) -> None:
    page = html.render(load_run(written(tmp_path / "run")))
    assert page.count("<svg role=") == 6
    assert "currentColor" in page
    assert "#0a0b0c" not in page


@pytest.mark.parametrize(("rates", "drawn"), [((5e5, 2e7), True), ((2e7, 2e7), False)])
def test_the_limit_is_drawn_where_it_is_in_reach(tmp_path: Path, rates: tuple[float, float], drawn: bool) -> None:
    folder = written(tmp_path / "run")
    lines = [json.loads(line) for line in (folder / "link.jsonl").read_text().splitlines()]
    for line in lines:  # a teacher sets another rate in the middle of it
        line["down"]["rate_bps"] = rates[line["t"] >= 10]
    (folder / "link.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert ("limit down" in html.render(load_run(folder))) is drawn


def test_phases_of_a_steered_run_are_told_to_a_tenth_of_a_second(tmp_path: Path) -> None:
    outcome = result()
    outcome["phases"][0]["end_s"] = outcome["phases"][1]["start_s"] = 13.782
    assert "0–13.8 s" in html.render(load_run(written(tmp_path / "run", outcome)), drawn=False)
    console = Console(width=80)
    with console.capture() as shown:
        console.print(text.render(outcome))
    assert "13.8-20 s" in shown.get()


@pytest.mark.parametrize(
    ("kinds", "note", "legend"),
    [
        (["data", "dns"] * 3, "6 round trips measured in the capture", "TCP data"),
        (["link"] * 4, "Not measured: the run has no capture (--no-capture). Crosses", "the link's log, no capture"),
        ([], "No round trip was measured. Line", ""),
    ],
    ids=["measured", "without a capture", "of an earlier version"],
)
def test_html_says_where_round_trips_come_from(tmp_path: Path, kinds: list[str], note: str, legend: str) -> None:
    folder = written(tmp_path / "run")
    lines = [{"t": 1.1 + n, "rtt_s": 0.2 + n / 10, "flow": "", "kind": kind} for n, kind in enumerate(kinds)]
    (folder / "roundtrips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = unescape(html.render(load_run(folder)))
    figure = page[page.index("Round trip over the link") : page.index("Loss on the link")]
    assert note in figure
    assert legend in figure
    assert "the link: delay + queue" in figure
    assert ("TCP data" in figure) == ("data" in kinds)


def test_a_plot_of_many_round_trips_stays_small(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    lines = [{"t": n * 20 / 5000, "rtt_s": n % 97 / 100, "flow": "", "kind": "data"} for n in range(5000)]
    (folder / "roundtrips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = html.render(load_run(folder))
    figure = page[page.index("Round trip over the link") : page.index("Loss on the link")]
    assert figure.count("<use ") < 3 * 40 + 50, "three of each half second, and the ticks"


FIDELITIES = {
    "as judged": fidelity.judge(
        [fidelity.Departure(way, 1500, n * 0.1, n * 0.1 + 0.1, n * 0.1 + 0.1001) for way in (0, 1) for n in range(9)],
        {"up": {"entered": 9, "lost": 0}, "down": {"entered": 1234, "lost": 0}},
        {"up": {"rate_bps": 5e5, "delay_s": 0.1}, "down": {"rate_bps": 5e5, "delay_s": 0.1}},
    ),
    "unshaped": fidelity.unshaped(),
    "of an earlier version": {
        "faithful": False, "reasons": ["too late"], "departures": 7, "lateness_s": {"p50": 0, "p99": 0, "worst": 0},
        "up": {"asked": {"rate_bps": None, "loss": 0.0035}, "entered": 1234}, "down": {},
    },
    "none": {},
}  # fmt: skip


@pytest.mark.parametrize("judged", FIDELITIES.values(), ids=list(FIDELITIES))
def test_html_has_a_box_for_any_fidelity(tmp_path: Path, judged: dict[str, Any]) -> None:
    page = html.render(load_run(written(tmp_path / "run", {**result(), "fidelity": judged})))
    box = page[page.index("<h2>Fidelity") : page.index("<h2>Decisions")]
    assert ("1,234" in box) == ("up" in judged)
    assert ("Not judged" in box) == (not judged)
    for reason in judged.get("reasons", ()):
        assert reason in box


PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")


def test_html_holds_the_screenshots_and_links_the_captures(tmp_path: Path) -> None:
    outcome = result()
    outcome["apps"][1] |= {"screenshot": "page at 3 s.png", "seen": "This site can’t be reached"}
    folder = written(tmp_path / "run", outcome)
    (folder / "screenshots").mkdir()
    (folder / "screenshots" / "page at 3 s.png").write_bytes(PNG)
    (folder / "screenshots" / "too large.png").write_bytes(PNG + bytes(9 << 20))
    (folder / "pcap").mkdir(exist_ok=True)
    (folder / "pcap" / "gateway-inside.pcapng").write_bytes(b"x" * 1500)
    page = html.render(load_run(folder))
    assert base64.b64encode(PNG).decode() in page
    assert page.count("<img") == 1, "a page of megabytes opens nowhere"
    assert 'alt="Screenshot of text in phase dark, blocked: This site can’t be reached"' in page
    assert '<a href="screenshots/too%20large.png">too large</a>' in page
    assert '<a href="pcap/gateway-inside.pcapng">pcap/gateway-inside.pcapng</a> 2 kB' in page


@pytest.mark.parametrize("apps", [0, 1, 12])
def test_any_number_of_apps_can_be_drawn(tmp_path: Path, apps: int) -> None:
    outcome = result()
    outcome["apps"] = [{**outcome["apps"][0], "name": f"app{number}"} for number in range(apps)]
    outcome["phases"].append({"name": "never", "start_s": 90, "end_s": 99, "policies": {}})
    page = html.render(load_run(written(tmp_path / "run", outcome)))
    assert "seconds since the start" in page
    assert page.count(">never<") == 1, "in the table, not in the plot: the run was ended before it"


def test_html_writes_evidence_so_that_it_can_be_read() -> None:
    assert html.evidence_text({"rules": []}) == "rules none"
    assert html.evidence_text({"left_s": 29.784, "rules": ["a", "b"]}) == "left_s 29.784, rules a, b"


def test_html_says_which_rule_stopped_an_app_and_links_the_frame(tmp_path: Path) -> None:
    page = html.render(load_run(written(tmp_path / "run")))
    why = page[page.index("<h2>Why</h2>") : page.index("<h2>Over time</h2>")]
    assert "<code>sni</code> × 1" in why
    assert "sni &lt;img&gt;" in why
    assert '<a href="pcap/gateway-inside.pcapng">inside 7</a>' in page


@pytest.mark.parametrize(
    ("phases", "widths"), [(0, []), (1, [1]), (6, [6]), (7, [3, 4]), (13, [4, 4, 5]), (30, [6] * 5)]
)
def test_verdicts_come_in_tables_that_fit_on_paper(tmp_path: Path, phases: int, widths: list[int]) -> None:
    outcome = result() | {"expectations": [], "apps": [] if not phases else result()["apps"]}
    outcome["phases"] = [
        {"name": f"phase{n}", "start_s": n, "end_s": n + 1, "policies": {"gateway": "open"}} for n in range(phases)
    ]
    for app in outcome["apps"]:
        app["phase"] = "phase0"
    page = html.render(load_run(written(tmp_path / "run", outcome)), drawn=False)
    tables = re.findall(r'<table class="grid">.*?</table>', page, re.DOTALL)
    assert [table.count('<th scope="col">') - 1 for table in tables] == widths
    assert all(f"phase{n}<" in page for n in range(phases))
