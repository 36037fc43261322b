"""What the page's server does for whom: everything on loopback with the token, nothing for anybody else."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from testbed import shipped
from testbed.dashboard.app import ACTS, Dashboard
from testbed.dashboard.catalogue import Catalogue
from testbed.dashboard.guard import refusal
from testbed.dashboard.hub import Hub
from testbed.dashboard.runs import Runs
from testbed.errors import InputError
from testbed.link.load import load_link
from testbed.link.spec import plain
from tests.dashboard.fakes import FakeRun

TOKEN = "the-token-of-this-test"
HERE = "http://localhost:8642"


@pytest.fixture
def client(fake: FakeRun, tmp_path: Path) -> Iterator[TestClient]:
    app = Dashboard(Runs(tmp_path / "runs"), fake.directory).app(TOKEN)
    with TestClient(app, base_url=HERE, headers={"authorization": f"Bearer {TOKEN}"}) as found:
        yield found


def test_the_page_needs_nothing_from_anywhere(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    for path in ("main.js", "vendor/lit-html.js", "vendor/uPlot.js", "style.css", "vendor/lit-html.LICENSE"):
        assert client.get(f"/static/{path}").status_code == 200, path
    for outside in ("http://", "https://", "//"):
        assert f'src="{outside}' not in page.text
        assert f'href="{outside}' not in page.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8642", "192.0.2.1:8642", "", "localhost.evil.example"])
def test_another_name_is_refused_even_for_looking(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.0.0.1:8642", "[::1]:8642"])
def test_every_name_of_loopback_will_do(host: str) -> None:
    assert refusal("GET", Headers({"host": host}), TOKEN) is None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"authorization": "Bearer é"}, 401),
        ({"authorization": f"Bearer {TOKEN}", "origin": "https://evil.example"}, 403),
        ({"authorization": f"Bearer {TOKEN}", "origin": "http://localhost:9999"}, 403),
        ({"authorization": f"Bearer {TOKEN}", "origin": "null"}, 403),
        ({"authorization": f"Bearer {TOKEN}", "origin": HERE}, None),
        ({"authorization": f"Bearer {TOKEN}"}, None),
    ],
)
def test_a_change_needs_the_token_and_this_origin(headers: dict[str, str], status: int | None) -> None:
    refused = refusal("POST", Headers({"host": "localhost:8642", **headers}), TOKEN)
    assert (refused and refused[0]) == status


def test_no_change_without_the_token_whatever_the_path(client: TestClient, fake: FakeRun) -> None:
    del client.headers["authorization"]
    for path in ("/api/start", "/api/stop", *(f"/api/do/{act}" for act in ACTS)):
        assert client.post(path, json={"down": True}).status_code == 401, path
    assert not any(op in ("set", "policy", "rule", "block") for _, op in fake.asked)


def test_a_policy_a_rule_and_a_name(client: TestClient, fake: FakeRun) -> None:
    assert client.post("/api/do/policy", json={"box": "gateway", "policy": "tm-2022"}).json() == {"ok": True}
    client.post("/api/do/rule", json={"box": "gateway", "rule": "tls-sni", "enabled": False})
    client.post("/api/do/block", json={"box": "gateway", "name": "Example.COM", "blocked": True})
    assert (fake.policy, fake.disabled, fake.blocked) == ("tm-2022", {"tls-sni"}, ["example.com"])
    client.post("/api/do/block", json={"box": "gateway", "name": "example.com", "blocked": False})
    assert fake.blocked == []
    assert [touched["step"] for touched in fake.steering.touched] == [
        {"policy": "tm-2022", "box": "gateway", "by": "hand"},
        {"disable": "tls-sni", "box": "gateway", "by": "hand"},
        {"block": "example.com", "box": "gateway", "by": "hand"},
        {"unblock": "example.com", "box": "gateway", "by": "hand"},
    ]


def test_the_rate_is_set_both_ways_and_the_rest_stays(client: TestClient, fake: FakeRun) -> None:
    before = fake.link
    client.post("/api/do/rate", json={"rate_bps": 20_000_000})
    for way in ("up", "down"):
        assert fake.link[way] == {**before[way], "rate": "20000000.0 bit/s", "by_clock": []}


def test_the_network_goes_down_and_comes_back_as_it_was(client: TestClient, fake: FakeRun) -> None:
    before = fake.link
    client.post("/api/do/cut", json={"down": True})
    assert (fake.link["up"]["loss"], fake.link["down"]["loss"]) == (1.0, 1.0)
    client.post("/api/do/cut", json={"down": True})
    client.post("/api/do/rate", json={"rate_bps": 2_000_000})
    client.post("/api/do/cut", json={"down": False})
    assert fake.link["down"] == {**before["down"], "rate": "2000000.0 bit/s", "by_clock": []}


def test_a_bursty_link_can_be_cut_too(client: TestClient, fake: FakeRun) -> None:
    link = load_link("national-2021")
    assert link is not None
    fake.link = plain(link.model_validate({"rate": "1 Mbit/s", "bursts": {"p": 0.1, "r": 0.5}}))
    before = fake.link
    assert client.post("/api/do/cut", json={"down": True}).status_code == 200
    assert link.model_validate(fake.link).up.loss == 1.0
    client.post("/api/do/cut", json={"down": False})
    assert fake.link == before


def test_the_timeline_is_held_pushed_and_stopped(client: TestClient, fake: FakeRun) -> None:
    client.post("/api/do/timeline", json={"do": "hold"})
    client.post("/api/do/timeline", json={"do": "next"})
    assert _comes(lambda: fake.policy == "tm-2023-08")
    assert client.post("/api/stop", json={}).status_code == 200
    assert _comes(lambda: fake.stopped)


def _comes(state: Callable[[], bool]) -> bool:
    """Wait for a state, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not state() and time.monotonic() < deadline:
        time.sleep(0.01)
    return state()


@pytest.mark.parametrize(
    ("act", "asked", "said"),
    [
        ("policy", {"box": "gateway", "policy": "../../etc/passwd"}, "no policy"),
        ("policy", {"box": "client1", "policy": "open"}, "no box"),
        ("policy", {"box": "gateway"}, "not understood"),
        ("rate", {"rate_bps": 1e12}, "can't be set"),
        ("rate", {"rate_bps": float("nan")}, "can't be set"),
        ("rate", {"rate_bps": "fast"}, "not understood"),
        ("block", {"box": "gateway", "name": "a b", "blocked": True}, "domain name"),
        ("timeline", {"do": "shout"}, "no operation"),
    ],
)
def test_what_is_wrong_is_said_and_not_done(
    client: TestClient, fake: FakeRun, act: str, asked: dict[str, Any], said: str
) -> None:
    answer = client.post(f"/api/do/{act}", content=json.dumps(asked))
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert fake.steering.touched == []


def test_a_request_is_a_small_object(client: TestClient) -> None:
    assert client.post("/api/do/rate", content=b"[1]").status_code == 400
    assert client.post("/api/do/rate", content=b"{").status_code == 400
    assert client.post("/api/do/rate", content=b" " * 20_000).status_code == 413
    assert client.post("/api/do/rate", content=b"[" * 9000).status_code == 400
    assert client.post("/api/start", json={}).status_code == 400
    assert client.post("/api/do/exec", json={"argv": ["id"]}).status_code == 404


def test_only_what_is_offered_can_be_started(client: TestClient, tmp_path: Path) -> None:
    for name in ("/etc/passwd", "../x", "no-such", "; id"):
        answer = client.post("/api/start", json={"scenario": name})
        assert answer.status_code == 400
        assert "not offered" in answer.json()["error"]
    assert not (tmp_path / "runs").exists()


def test_a_run_that_is_over_says_so(client: TestClient, fake: FakeRun) -> None:
    fake.directory.control("gateway").unlink()
    fake.directory.control("run").unlink()
    answer = client.post("/api/do/policy", json={"box": "gateway", "policy": "open"})
    assert answer.status_code == 409
    assert "over" in answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["/run/result.json", "/run/..%2fwork%2fjob.json", "/run/work", "/run/pcap/..%2f..%2fx"]
)
def test_only_the_runs_own_results_can_be_fetched(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_report_is_served_under_a_policy_of_its_own(client: TestClient, fake: FakeRun) -> None:
    assert client.get("/run/report.html").status_code == 404
    (fake.directory.path / "report.html").write_text("<p>report")
    page = client.get("/run/report.html")
    assert page.text == "<p>report"
    assert "script-src" not in page.headers["content-security-policy"]


def test_the_catalogue_tells_rules_with_their_evidence(client: TestClient) -> None:
    listed = client.get("/api/catalogue").json()
    assert "imo-goes-dark" in [one["name"] for one in listed["scenarios"]]
    policy = next(one for one in listed["policies"] if one["name"] == "tm-2022")
    rule = next(one for one in policy["rules"] if one["name"] == "tls-sni")
    assert rule["evidence"]["mark"] == "M"
    assert rule["match"]
    assert rule["action"]


def test_the_catalogue_is_read_again_when_a_file_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "_PLACES", (tmp_path,))
    (tmp_path / "policies").mkdir()
    (tmp_path / "scenarios").mkdir()
    catalogue = Catalogue(Runs(tmp_path))
    assert json.loads(catalogue.read()) == {"scenarios": [], "policies": []}
    (tmp_path / "policies" / "mine.yaml").write_text("policy: mine\ntitle: Mine\nrules: []\n")
    (tmp_path / "policies" / "faulty.yaml").write_text("policy: faulty\nrules: 5\n")
    assert [policy["title"] for policy in json.loads(catalogue.read())["policies"]] == ["Mine"]


def test_a_frame_needs_a_box(client: TestClient) -> None:
    assert client.get("/api/frame/client1/ab").status_code == 404
    assert client.get("/api/frame/gateway/ab").status_code == 404


async def _events(hub: Hub, count: int) -> list[tuple[str, Any]]:
    found = []
    async for chunk in hub.stream():
        lines = dict(line.partition(": ")[::2] for line in chunk.decode().strip().splitlines())
        if "data" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
        if len(found) >= count:
            break
    return found


def test_a_stream_is_a_snapshot_and_then_changes(fake: FakeRun) -> None:
    async def look() -> list[tuple[str, Any]]:
        hub = Hub()
        hub.show(fake.directory)
        watching = asyncio.create_task(hub.watch())
        try:
            await asyncio.sleep(0.5)
            fake.decide(7)
            return await asyncio.wait_for(_events(hub, 4), 5)
        finally:
            watching.cancel()

    kinds = asyncio.run(look())
    assert kinds[0][0] == "snapshot"
    assert kinds[0][1]["run"]["title"] == "A fake run"
    assert {kind for kind, _ in kinds[1:]} == {"changes"}
    told = [one for _, change in kinds for one in change.get("decisions", [])]
    assert [one["evidence"]["sni"] for one in told] == ["site7.example"]


def test_watching_ends_when_it_is_told_to_even_as_something_changes() -> None:
    async def cancel_in_the_same_turn() -> None:
        hub = Hub()
        watching = asyncio.create_task(hub.watch())
        await asyncio.sleep(0.01)
        hub.look_soon()
        await asyncio.sleep(0)  # the event is there, the watcher has not run yet
        watching.cancel()
        done, _ = await asyncio.wait([watching], timeout=2)
        assert done

    asyncio.run(cancel_in_the_same_turn())


def test_a_browser_that_sleeps_gets_a_snapshot_again(fake: FakeRun) -> None:
    async def look() -> list[str]:
        hub = Hub()
        hub.show(fake.directory)
        stream = hub.stream()
        kinds = [(await anext(stream)).decode()]
        for number in range(200):
            hub._tell(f"event: changes\ndata: {number}\n\n".encode())
        kinds.append((await anext(stream)).decode())
        await stream.aclose()  # type: ignore[attr-defined]
        assert hub.browsers == 0
        return kinds

    first, second = asyncio.run(look())
    assert "event: snapshot" in first
    assert "event: snapshot" in second


def test_a_scenario_that_is_going_on_is_not_started_twice(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    with pytest.raises(InputError, match="not offered"):
        asyncio.run(runs.start("nothing"))
    assert not runs.going


def test_a_run_is_over_with_its_result_though_its_processes_take_longer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = """
import pathlib, signal, sys, time
def end(number, frame):
    pathlib.Path(sys.argv[1], "result.json").write_text("{}")
    time.sleep(60)
signal.signal(signal.SIGINT, end)
pathlib.Path(sys.argv[1], "up").touch()
time.sleep(60)
"""
    monkeypatch.setattr(
        "testbed.dashboard.runs.proc.module", lambda *argv: [sys.executable, "-S", "-c", program, argv[-1]]
    )
    monkeypatch.setattr("testbed.dashboard.runs._PATIENCE_S", 2.0)
    page = Dashboard(Runs(tmp_path), None)
    with TestClient(page.app(TOKEN), base_url=HERE, headers={"authorization": f"Bearer {TOKEN}"}) as client:
        processes = []
        for _ in range(2):
            assert client.post("/api/start", json={"scenario": "imo-goes-dark"}).status_code == 200
            assert "going on" in client.post("/api/start", json={"scenario": "imo-goes-dark"}).text
            assert page.hub.directory is not None
            while not (page.hub.directory.path / "up").exists():
                time.sleep(0.01)
            processes.append(page.runs._process)
            assert client.post("/api/stop").status_code == 200
            assert processes[-1] is not None
            assert processes[-1].returncode is None
        assert processes[0] is not processes[1]
