"""A run seen from outside: its files as they grow, its sockets, its counters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.dashboard import counters
from testbed.dashboard.watch import Tail, Watcher, as_it_was
from tests.dashboard.fakes import FakeRun

#: /proc/net/dev of Linux 6.1, its columns narrowed
NET_DEV = """\
Inter-|   Receive                                        |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:    1000      10 0 0 0 0 0 0     1000      10 0 0 0 0 0 0
client1-eth0: 5460441    4012 0 0 0 0 0 0   284121    3977 0 0 0 0 0 0
"""


def test_a_tail_gives_whole_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    tail = Tail(path)
    assert list(tail.lines()) == []
    path.write_bytes(b'{"n": 1}\n{"n": 2')
    assert list(tail.lines()) == [{"n": 1}]
    with path.open("ab") as stream:
        stream.write(b"}\n")
    assert list(tail.lines()) == [{"n": 2}]
    assert list(tail.lines()) == []


def test_a_tail_of_a_file_that_was_cut_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    tail = Tail(path)
    path.write_bytes(b'{"n": 1}\n{"n": 2}\n')
    list(tail.lines())
    path.write_bytes(b'{"n": 3}\n')
    assert list(tail.lines()) == [{"n": 3}]


def test_counters_are_the_packets_received_and_sent() -> None:
    assert counters.parse(NET_DEV) == {"lo": (10, 10), "client1-eth0": (4012, 3977)}


def test_traffic_is_outward_then_inward(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([{"client1": {"client1-eth0": (10, 20)}}, {"client1": {"client1-eth0": (15, 40)}}])
    monkeypatch.setattr(counters.Traffic, "_read", lambda self: next(seen))
    traffic = counters.Traffic([{"a": "client1", "a_if": "client1-eth0", "b": "access", "b_if": "x"}], {"client1": 1})
    assert traffic.rates(1.0) == [[0.0, 0.0]]
    assert traffic.rates(3.0) == [[10.0, 2.5]]


def test_a_watcher_sees_files_sockets_and_the_end(fake: FakeRun) -> None:
    watcher = Watcher(fake.directory)
    assert watcher.view() is not None
    fake.decide(1)
    fake.attempt("text", "ok")
    kinds = {kind for kind, _ in watcher.poll()}
    assert {"decision", "attempt", "run", "box", "link"} <= kinds
    fake.end()
    assert [kind for kind, _ in watcher.poll()][-2:] == ["end", "traffic"]
    assert watcher.ended


@pytest.mark.parametrize(("by_clock", "told"), [([], 20e6), ([{"from": "18:00", "rate": "40 kbit/s"}], None)], ids=str)
def test_a_rate_is_known_before_the_links_next_sample(fake: FakeRun, by_clock: list[Any], told: float | None) -> None:
    watcher = Watcher(fake.directory)
    watcher.view()
    fake.link = {way: {**fake.link[way], "rate": "20 Mbit/s", "by_clock": by_clock} for way in ("up", "down")}
    (link,) = (record for kind, record in watcher.poll() if kind == "link")
    assert link.get("rate_down") == link.get("rate_up") == told


def test_a_run_that_is_over_is_seen_as_it_was(fake: FakeRun) -> None:
    lines = [{"t": 1.0, "step": {"phase": "open"}}, {"t": 5.0, "step": {"phase": "dark", "policy": "tm-2022"}}]
    fake.directory.steps.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for t in (2.0, 4.0, 6.0):
        fake.decide(int(t), t=t)
    fake.attempt("text", "ok", t=3.8)
    fake.end()
    then = as_it_was(fake.directory, 4.1)
    assert then is not None
    shown = then.snapshot()
    assert [decision["t"] for decision in shown["decisions"]] == [2.0, 4.0]
    assert shown["apps"] == {}, "it had not ended"
    assert (shown["run"]["phase"], shown["run"]["moments"]) == ("open", [1.0, 5.0])
    later = as_it_was(fake.directory, 6.0)
    assert later is not None
    assert later.snapshot()["boxes"]["gateway"]["policy"] == "tm-2022"
    assert list(later.snapshot()["apps"]) == ["text"]


def test_what_was_done_by_hand_is_seen_as_it_was(fake: FakeRun) -> None:
    steps: list[dict[str, object]] = [
        {"disable": "tls-sni", "box": "gateway", "by": "hand"}, {"block": "a.example", "box": "gateway", "by": "hand"},
        {"network": "down", "by": "hand"}, {"policy": "open", "box": "gateway", "by": "hand"},
        {"unblock": "a.example", "box": "gateway", "by": "hand"}, {"network": "up", "by": "hand"},
    ]  # fmt: skip
    lines = [{"t": float(t), "step": step} for t, step in enumerate(steps, 1)]
    fake.directory.steps.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = {"policy": "policies/tm-2022.yaml"}
    fake.directory.write_json(fake.directory.path / "work" / "gateway.config.json", config)
    fake.end()

    def at(t: float) -> tuple[str, list[str], list[str], bool | None]:
        view = as_it_was(fake.directory, t)
        assert view is not None
        shown = view.snapshot()
        box = shown["boxes"]["gateway"]
        return box["policy"], box["disabled"], box["blocked"], shown["link"].get("cut")

    assert at(0.5) == ("tm-2022", [], [], None)
    assert at(2.5) == ("tm-2022", ["tls-sni"], ["a.example"], None)
    assert at(3.5) == ("tm-2022", ["tls-sni"], ["a.example"], True)
    assert at(4.5) == ("open", [], ["a.example"], True), "a policy has all its rules, names typed in stay"
    assert at(6.5) == ("open", [], [], False)


def test_a_run_that_was_killed_is_said_to_be_over(fake: FakeRun) -> None:
    watcher = Watcher(fake.directory)
    watcher.view()
    for name in ("run", "gateway", "link"):
        fake.directory.control(name).unlink()
    (fake.directory.path / "sandbox.json").write_text(json.dumps({"unshare": 2**22 + 1, "rootless": False}))
    records = dict(watcher.poll())
    assert records["run"]["state"] == "failed"
