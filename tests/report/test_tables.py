"""A run directory read back as tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import testbed
from testbed.errors import InputError
from testbed.report.tables import goodput
from tests.report.runs import written


def test_link_rows_are_differences_of_the_links_counters(tmp_path: Path) -> None:
    run = testbed.load_run(written(tmp_path / "run"))
    first = run.link.where(direction="up")[0]
    assert first["throughput_bps"] == pytest.approx(500_000)
    assert (first["entered"], first["queue_s"]) == (5, pytest.approx(0.2))
    assert sum(run.link.where(direction="up").column("lost")) == 19
    assert run.link.where(direction="down")[0]["rate_bps"] is None


def test_rtt_is_both_delays_and_both_queues(tmp_path: Path) -> None:
    run = testbed.load_run(written(tmp_path / "run"))
    assert run.rtt[0]["rtt_s"] == pytest.approx(0.1 + 0.1 + 12_500 * 8 / 500_000)


TRIP = {"t": 3.2, "rtt_s": 0.21, "flow": "tcp 100.64.1.1:4 > 198.18.0.20:443", "kind": "data"}


def test_round_trips_are_a_table_and_a_csv(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    (folder / "roundtrips.jsonl").write_text(json.dumps(TRIP) + "\n")
    run = testbed.load_run(folder)
    assert list(run.round_trips) == [TRIP]
    (table,) = (table for table in run.tables if table.name == "round_trips")
    table.to_csv(tmp_path / "trips.csv")
    assert (tmp_path / "trips.csv").read_text().splitlines() == ["t,rtt_s,flow,kind", f"3.2,0.21,{TRIP['flow']},data"]


def test_goodput_is_what_arrived_over_how_long_it_took() -> None:
    assert goodput({"kpis": {"bytes": 500}, "duration_s": 2.0}) == 2000
    assert goodput({"kpis": {"goodput_bps": 7, "bytes": 500}, "duration_s": 2.0}) == 7
    assert goodput({"kpis": {}, "duration_s": 2.0}) is None


def test_csv_reads_back(tmp_path: Path) -> None:
    run = testbed.load_run(written(tmp_path / "run"))
    run.decisions.to_csv(str(tmp_path / "decisions.csv"))
    run.decisions.to_csv(tmp_path / "same.csv")
    assert (tmp_path / "same.csv").read_bytes() == (tmp_path / "decisions.csv").read_bytes()
    with (tmp_path / "decisions.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert json.loads(row["evidence"]) == {"sni": "<img>"}
    assert float(row["t"]) == 11.1
    assert run.decisions[0]["frames"] == {"inside": [7], "outside": []}


def test_a_run_of_before_the_link_was_sampled_has_empty_tables(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    (folder / "link.jsonl").unlink()
    run = testbed.load_run(folder)
    assert (len(run.link), len(run.rtt), len(run.apps)) == (0, 0, 2)


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    (folder / "result.json").unlink()
    with pytest.raises(InputError, match="did not end"):
        testbed.load_run(folder)


def test_an_unknown_column_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="there are t, rtt_s"):
        testbed.load_run(written(tmp_path / "run")).rtt.column("ms")
