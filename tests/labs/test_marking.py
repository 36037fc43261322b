"""The checkers over made captures: who made a packet, who swallowed one; and no form makes a checker fall."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from scapy.layers.inet import IP, TCP
from scapy.utils import wrpcap

from testbed.documents import read_document
from testbed.labs.lab import ANSWERS, Lab, find_lab, labs
from testbed.labs.marking import mark
from testbed.labs.marking.slow_country import transfer_s
from testbed.labs.work import Work
from testbed.link.load import load_link
from testbed.run.directory import RunDirectory

CLIENT, SITE = "100.64.1.1", "198.19.0.11"
_UP, _DOWN = {"sport": 40001, "dport": 443}, {"sport": 443, "dport": 40001}


def _packets() -> dict[str, Any]:
    """A connection whose request draws a forged reset; then a host's own reset on another port."""
    return {
        "syn": IP(src=CLIENT, dst=SITE, id=1, ttl=63) / TCP(**_UP, flags="S", seq=100),
        "shake": IP(src=SITE, dst=CLIENT, id=2, ttl=61) / TCP(**_DOWN, flags="SA", seq=500, ack=101),
        "get": IP(src=CLIENT, dst=SITE, id=3, ttl=63)
        / TCP(**_UP, flags="PA", seq=101, ack=501)
        / b"GET / HTTP/1.1\r\nHost: twitter.com\r\n\r\n",
        "forged": IP(src=SITE, dst=CLIENT, id=30000, ttl=127) / TCP(**_DOWN, flags="R", seq=501),
        "late": IP(src=CLIENT, dst=SITE, id=4, ttl=63) / TCP(**_UP, flags="A", seq=140, ack=501),
        "again": IP(src=SITE, dst=CLIENT, id=30001, ttl=127) / TCP(**_DOWN, flags="R", seq=501, window=7),
        "own": IP(src=SITE, dst=CLIENT, id=9, ttl=61) / TCP(sport=81, dport=40002, flags="RA", ack=1),
    }


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run directory whose inner capture has two packets that the outer one lacks, TTLs one apart."""
    (tmp_path / "run").mkdir()
    directory = RunDirectory.prepared(tmp_path / "run")
    directory.scenario.write_text("scenario: made\ntitle: Made\npolicy: tm-2022\n")
    packets = _packets()
    outside = [packet.copy() for name, packet in packets.items() if name not in ("forged", "again")]
    for packet in outside:
        packet.ttl += 1 if packet.src == SITE else -1
    wrpcap(str(directory.capture("gateway", "inside")), list(packets.values()))
    wrpcap(str(directory.capture("gateway", "outside")), outside)
    return directory


def _mark(lab: Lab, folder: Path, run: RunDirectory, answers: dict[str, Any]) -> dict[str, bool]:
    folder.mkdir(exist_ok=True)
    (folder / ANSWERS).write_text(yaml.safe_dump({"host": "client1"} | answers))
    return {each.task.partition(":")[0]: each.right for each in mark(Work(lab, folder, run))}


def test_a_reset_that_only_the_inner_side_saw_is_the_censors(run: RunDirectory, tmp_path: Path) -> None:
    right = {"forged_frame": 4, "trigger_frame": 3, "forged_ttl": 127, "forged_ip_id": 30000, "server_ttl": 61,
             "true_frame": 7, "residual_frame": 6}  # fmt: skip
    assert all(_mark(find_lab(3), tmp_path / "work", run, right).values())
    wrongs = {"forged_frame": 7, "true_frame": 4, "trigger_frame": 5, "residual_frame": 4, "server_ttl": 127,
              "forged_ttl": 61}  # fmt: skip
    for key, wrong in wrongs.items():
        marks = _mark(find_lab(3), tmp_path / "work", run, right | {key: wrong})
        assert not marks["forged_ttl, forged_ip_id" if key == "forged_ttl" else key], key


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.name)
@pytest.mark.parametrize("value", [None, -1, 10**30, 0.5, "text", [1, {}], {"a": {}}, [], True], ids=str)
def test_no_form_makes_a_checker_fall_or_right(lab: Lab, value: Any, run: RunDirectory, tmp_path: Path) -> None:
    keys = [key for key in read_document(lab.folder / "work" / ANSWERS).data if key != "host"]
    marks = _mark(lab, tmp_path / "work", run, dict.fromkeys(keys, value))
    assert marks
    assert not any(marks.values())


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.name)
@pytest.mark.parametrize("value", [None, 7, "text"], ids=str)
def test_whatever_is_wrong_is_told_where_to_look(lab: Lab, value: Any, run: RunDirectory, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    keys = [key for key in read_document(lab.folder / "work" / ANSWERS).data if key != "host"]
    (folder / ANSWERS).write_text(yaml.safe_dump({"host": "client1"} | dict.fromkeys(keys, value)))
    for each in mark(Work(lab, folder, run)):
        assert each.right or each.said, each.task
        asked = [key for key in each.task.partition(":")[0].split(", ") if key in keys]
        if asked and value is None:
            assert each.said == f"not filled in: {', '.join(asked)}"


def test_a_plan_that_may_harm_somebody_is_wrong(run: RunDirectory, tmp_path: Path) -> None:
    good = {
        "control": "a.example", "every": "10 s", "ends_after": "30 d", "contact": "a@lab.example", "kept_days": 90,
        "keeps": ["input", "failure"], "targets": [{"address": f"100.64.1.{n}", "consent": "own"} for n in (1, 2, 3)],
    }  # fmt: skip
    lab, folder = find_lab(8), tmp_path / "work"
    folder.mkdir()
    stranger = [*good["targets"], {"address": "203.0.113.9", "consent": "they will not notice"}]  # type: ignore[misc]
    for change in ({}, {"every": "10 ms"}, {"control": ""}, {"contact": None}, {"keeps": ["location"]},
                   {"kept_days": 4000}, {"targets": stranger}, {"targets": 5}):  # fmt: skip
        (folder / "plan.yaml").write_text(yaml.safe_dump(good | change))
        right = [each.right for each in mark_of(lab, folder, run) if each.task.startswith("plan.yaml")]
        assert all(right) == (not change), change


def mark_of(lab: Lab, folder: Path, run: RunDirectory) -> list[Any]:
    (folder / ANSWERS).write_text("host: client1\n")
    (folder / "measurements.jsonl").write_text(json.dumps({"input": "a.example", "failure": None}) + "\n")
    return mark(Work(lab, folder, run))


def test_a_transfer_takes_what_rate_and_delay_say(tmp_path: Path) -> None:
    (tmp_path / "slow.yaml").write_text("link: slow\nrate: 32 kbit/s\nrtt: 275 ms\n")
    link = load_link(tmp_path / "slow.yaml")
    assert link is not None
    packets = -(-60_000 // 1448)
    assert transfer_s(link.down, 60_000) == pytest.approx(packets * 1500 * 8 / 32e3 + 0.1375)
