"""Drafts from fixture files: one rule a mechanism, thresholds kept, doubt reported, and the result a valid policy."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from testbed.cli.check import problems_of
from testbed.cli.main import cli
from testbed.dpi.policy import load_policy
from testbed.errors import InputError

DATA = Path(__file__).parent.parent / "data" / "ooni"
TM, IR = DATA / "tm-2022.jsonl", DATA / "ir-2023.jsonl.gz"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["policy", "from-ooni", *map(str, arguments)], standalone_mode=False)


def report(*arguments: object) -> dict[str, Any]:
    done = call(*arguments, "--json")
    assert done.return_value == 0, done.exception
    return dict(json.loads(done.stdout))


def rules(policy: str) -> dict[str, dict[str, Any]]:
    return {rule["name"]: rule for rule in yaml.safe_load(policy)["rules"]}


def test_each_mechanism_becomes_a_rule_with_its_evidence() -> None:
    found = rules(report(TM)["policy"])
    assert {name: (rule["match"], rule["action"]) for name, rule in found.items()} == {
        "dns-forged": (
            {"dns": {"patterns": ["=twitter.com", "=www.instagram.com"]}},
            {"dns_answer": {"a": ["127.0.0.1"], "ttl": "300 s"}},
        ),
        "dns-nxdomain": ({"dns": {"patterns": ["=missing.example"]}}, {"dns_answer": {"rcode": "nxdomain"}}),
        "http-reset": ({"http_host": {"patterns": ["=habartm.org"]}}, {"rst": {"to": "sender"}}),
        "http-page-403": (
            {"http_host": {"patterns": ["=page.example"]}},
            {"block_page": {"status": 403, "body": "<html><head><title>Access denied</title></head>"
                            "<body>Blocked by order.</body></html>"}},
        ),
        "tls-reset": ({"sni": {"patterns": ["=cdn.sstatic.net"]}}, {"rst": {"to": "sender"}}),
        "tls-silent": ({"sni": {"patterns": ["=silent.example"]}}, {"drop": "flow"}),
        "tcp-silent-443": (
            {"protocol": "tcp", "addresses": ["198.51.100.10"], "ports": [443]}, {"drop": "packet"},
        ),
    }  # fmt: skip
    assert found["dns-forged"]["evidence"] == {
        "mark": "M",
        "source": "OONI, 8 measurements, 2022-11-20 to 2022-12-02",
        "note": "8 of 8 stopped where the test helper succeeded; by network: AS20661 6, AS51495 2; 2 confirmed by OONI",
    }


def test_doubt_is_reported_and_not_guessed() -> None:
    found = {item["subject"]: item["why"] for item in report(TM)["ambiguous"]}
    assert found == {
        "mitm.example": "`ssl_unknown_authority` has more than one explanation",
        "seldom.example": "fewer than 3 measurements",
        "sometimes.example": "no one way in 60% of them",
    }
    lenient = report(TM, "--min-measurements", 1, "--min-share", "30 %")
    assert rules(lenient["policy"])["tls-reset"]["match"]["sni"]["patterns"] == [
        "=cdn.sstatic.net", "=seldom.example", "=sometimes.example",
    ]  # fmt: skip
    strict = report(TM, "--min-measurements", 4)
    assert "dns-nxdomain" not in rules(strict["policy"])


def test_what_is_not_read_is_counted_and_told() -> None:
    found = report(TM)
    assert found["other_tests"] == {"dnscheck": 1, "telegram": 1, "tor": 1}
    assert found["without_helper"] == 1
    assert [item["place"] for item in found["skipped"]] == [f"{TM}:6", f"{TM}:10"]
    told = call(TM).stderr
    assert f"{TM}:6: not JSON" in told
    assert "2 of 46 lines skipped" in told


def test_a_pool_of_addresses_stays_a_pool() -> None:
    found = rules(report(IR)["policy"])
    assert found["dns-forged"]["action"]["dns_answer"] == {
        "a": [f"203.0.113.{last}" for last in range(1, 5)],
        "aaaa": [f"2001:db8::{last}" for last in range(1, 5)],
    }


@pytest.mark.parametrize(("file", "name"), [(TM, "ooni-tm"), (IR, "ooni-ir")])
def test_the_draft_is_a_valid_policy(tmp_path: Path, file: Path, name: str) -> None:
    assert call(file, "--output", tmp_path).return_value == 0
    assert problems_of(tmp_path / f"{name}.yaml") == []
    (tmp_path / "inline.yaml").write_text(report(file)["policy"])
    assert problems_of(tmp_path / "inline.yaml") == []
    beside, inline = load_policy(tmp_path / f"{name}.yaml"), load_policy(tmp_path / "inline.yaml")
    for asked in ("twitter.com", "cdn.sstatic.net", "habartm.org", "pool.example", "example.org", "m.twitter.com"):
        assert beside.explain(asked) == inline.explain(asked)
    if name == "ooni-tm":
        assert [hit.kind for hit in beside.explain("twitter.com")] == ["dns"]
        assert beside.explain("example.org") == ()
        assert "198.51.100.10  # 4 of 4" in (tmp_path / "lists" / "ooni-tcp-silent-443.txt").read_text()


def test_several_countries_are_not_mixed() -> None:
    done = call(TM, IR)
    assert isinstance(done.exception, InputError)
    assert "--country TM" in str(done.exception)
    assert yaml.safe_load(report(TM, IR, "--country", "ir")["policy"])["policy"] == "ooni-ir"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{\n[]\n\n", "x.jsonl:2: not a JSON object"),
        (b"", "no measurement in it"),
        (b'{"test_name":"tor"}\n', "no web_connectivity measurement, other tests: tor 1"),
        (gzip.compress(b"{}\n" * 99, mtime=0)[:-9], "can't be read"),
    ],
)
def test_files_without_a_measurement_are_status_two(tmp_path: Path, content: bytes, told: str) -> None:
    (path := tmp_path / "x.jsonl").write_bytes(content)
    done = call(path)
    assert isinstance(done.exception, InputError)
    assert told in str(done.exception)
    missing = call(tmp_path / "none.jsonl")
    assert isinstance(missing.exception, InputError)


def measurements() -> list[dict[str, Any]]:
    """Those of the fixture that are whole."""
    lines = (line for line in TM.read_text().split("\n") if '"test_keys":{' in line and line.endswith("}"))
    return [json.loads(line) for line in lines]


def lines_of(path: Path, items: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, items)))
    return path


@pytest.mark.parametrize("form", ["list", "list of many lines", "one of many lines"])
def test_files_of_one_json_value_are_read(tmp_path: Path, form: str) -> None:
    """So people save what OONI Explorer shows, and the answer of its API."""
    items, path = measurements(), tmp_path / "saved.json"
    path.write_text(json.dumps(items[0] if form.startswith("one") else items, indent=None if form == "list" else 1))
    found, wanted = report(path), report(lines_of(tmp_path / "lines.jsonl", items))
    assert found["skipped"] == []
    assert found["measurements"] == (1 if form.startswith("one") else wanted["measurements"])


@pytest.mark.parametrize("ttl", [-5, 1 << 31, True, 1.5])
def test_a_time_to_live_that_is_none_is_left_out(tmp_path: Path, ttl: object) -> None:
    items = measurements()
    for item in items:
        for query in item["test_keys"].get("queries") or []:
            for answer in query.get("answers") or []:
                answer["ttl"] = ttl
    path = lines_of(tmp_path / "odd.jsonl", items)
    assert call(path, "--output", tmp_path / "draft").return_value == 0
    assert not problems_of(tmp_path / "draft" / "ooni-tm.yaml")


@pytest.mark.parametrize("status", [None, True, 99, 1000])
def test_a_page_without_a_status_is_no_rule(tmp_path: Path, status: object) -> None:
    items = measurements()
    for item in items:
        for entry in item["test_keys"].get("requests") or []:
            if isinstance(entry.get("response"), dict):
                entry["response"]["code"] = status
    found = report(lines_of(tmp_path / "odd.jsonl", items))
    assert not any(name.startswith("http-page") for name in rules(found["policy"]))
    assert any(item["why"] == "a page without a status" for item in found["ambiguous"])
