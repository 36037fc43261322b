"""The checkers over made captures: who made a packet, who swallowed one; and no form makes a checker fall."""

from __future__ import annotations

import json
import secrets
import subprocess
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
from tests.labs.pages import solution

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
    thrice = good["targets"][:1] * 3  # type: ignore[index]
    for change in ({}, {"every": "10 ms"}, {"control": ""}, {"contact": None}, {"keeps": ["location"]},
                   {"keeps": "client ip"}, {"keeps": ["input", "user's phone"]}, {"targets": thrice},
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


def test_a_form_of_another_host_is_somebody_elses(run: RunDirectory, tmp_path: Path) -> None:
    right = {"host": "client1", "forged_frame": 4, "true_frame": 7}
    (tmp_path / ANSWERS).write_text(yaml.safe_dump(right))
    own, copied = (mark(Work(find_lab(3), tmp_path, run, seat)) for seat in ("client1", "client2"))
    assert [each.right for each in own].count(True) == 2
    assert not any(each.right for each in copied)
    assert "form of client1, in the folder of client2" in copied[0].said


def test_a_blocked_name_in_other_clothes_is_no_stranger(run: RunDirectory, tmp_path: Path) -> None:
    for strangers, right in (
        (["leprosy-facebook-facts.example", "viberation.example", "my-twitter.com.example"], True),
        (["twitter.com.", "facebook.com.", "youtube.com."], False),
        (["https://twitter.com/", "twitter.com/a.example", "a twitter.com"], False),
        (["viberation.example", "viberation.example.", "VIBERATION.example"], False),
    ):
        assert _mark(find_lab(2), tmp_path / "work", run, {"strangers": strangers})["strangers"] == right, strangers


@pytest.mark.parametrize(("altered", "stops", "spares"), [
    ({}, True, True),
    ({"action": {"watch": True}}, False, True),
    ({"probability": "10 %"}, False, True),
    ({"ports": [1]}, False, True),
    ({"everybody": True}, True, False),
], ids=str)  # fmt: skip
def test_a_fair_censor_is_one_that_acts(
    altered: dict[str, Any], stops: bool, spares: bool, run: RunDirectory, tmp_path: Path
) -> None:
    document = yaml.safe_load(solution(find_lab(4).teacher)["fair.yaml"])
    for rule in document["rules"]:
        rule |= {key: value for key, value in altered.items() if key in ("action", "probability")}
        rule["match"] |= {key: value for key, value in altered.items() if key == "ports"}
    if "everybody" in altered:
        document["placement"] = "in-path"
        everybody = {"name": "all", "match": {"protocol": "tcp"}, "action": {"drop": "flow"}}
        document["rules"].append({**everybody, "evidence": {"mark": "U", "source": "my own"}})
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "fair.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "work" / ANSWERS).write_text("host: client1\n")
    marks = {each.task: each.right for each in mark(Work(find_lab(4), tmp_path / "work", run))}
    assert marks["fair.yaml: it stops the name and all below it"] == stops
    assert marks["fair.yaml: and nobody else"] == spares


def test_a_censor_that_stops_everybody_is_no_stronger_one(run: RunDirectory, tmp_path: Path) -> None:
    lab = find_lab(6)
    (tmp_path / ANSWERS).write_text("host: client1\n")
    everybody = """placement: in-path
rules:
  - name: all
    match: {protocol: tcp, ports: [443]}
    action: {drop: flow}
    evidence: {mark: U, source: "my own"}
"""
    for more, right in (("", True), (everybody, False)):
        (tmp_path / "stronger.yaml").write_text(f"policy: stronger\ntitle: One\nextends: tm-2022\n{more}")
        marks = {each.task: each.right for each in mark(Work(lab, tmp_path, run))}
        assert marks["stronger.yaml: and hits no more names than before"] == right, more


def test_a_page_that_never_crossed_the_border_was_not_fetched(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ANSWERS).write_text("host: client1\n")
    (tmp_path / "evade.sh").write_text("head -c 24000 /dev/zero\n")

    def country(work: Work, argv: Any, *, keep: Path) -> subprocess.CompletedProcess[str]:
        keep.mkdir()
        wrpcap(str(RunDirectory.prepared(keep).capture("gateway", "inside")), [page] * packets.pop())
        return subprocess.CompletedProcess(argv, 0, "35\n--\n24000\n", "")

    monkeypatch.setattr(Work, "in_country", country)
    monkeypatch.setattr(secrets, "randbelow", lambda most: 4000)
    page = IP(src=SITE, dst=CLIENT) / TCP(**_DOWN, flags="A") / bytes(1400)
    packets = [18, 3]
    for right in (False, True):
        (said,) = (each for each in mark(Work(find_lab(6), tmp_path, run)) if each.task.startswith("evade.sh"))
        assert said.right == right, said
