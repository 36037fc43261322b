"""The kernel's part of a box, in a real kernel: it decides as the engine would, forgets on time, and loses nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.run.gate import reasons_invalid
from tests.live.crossings import CROSSINGS
from tests.live.line import enter

pytestmark = [pytest.mark.live, pytest.mark.alone]
FAITHFUL = {"faithful": True, "reasons": []}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Do all experiments once, in one sandbox."""
    folder = tmp_path_factory.mktemp("line")
    done = enter(["-m", "tests.live.kernel_inside", str(folder)], capture_output=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout))


def test_kernel_and_engine_agree_on_addresses_and_ports(seen: dict[str, Any]) -> None:
    found = seen["agreement"]
    names = [crossing.about for crossing in CROSSINGS]
    differ = [
        (name, f"kernel {kernel}, engine live {engine}, engine offline {offline}")
        for name, kernel, engine, offline in zip(
            names, found["kernel"], found["engine"], found["offline"], strict=True
        )
        if not kernel == engine == offline
    ]  # fmt: skip
    assert differ == []
    came = dict(zip(names, found["kernel"], strict=True))
    assert not came["v4 out udp to 3478"]
    assert came["v6 in udp to 5010"], "it comes from that port: the host it contacts is another"
    assert not came["v6 udp 6001-3478 from outside"]
    assert came["v4 out tcp to 3478"]
    assert not came["v6 out tcp 80 block 1"]
    assert came["v6 out tcp 443 block 1"]
    assert not came["v4 udp 6001-3478 back"]


def test_each_rule_shows_what_the_kernel_dropped(seen: dict[str, Any]) -> None:
    stats, events = seen["agreement"]["stats"], seen["agreement"]["events"]
    rules = stats["kernel"]["rules"]
    assert set(rules) == {"udp-ports", "web-there", "listed", "ping-there", "any-transport"}
    assert all(rules.values())
    told: dict[str, int] = {}
    for event in events:
        if event["reason"] == "dropped by the kernel":
            told[event["rule"]] = told.get(event["rule"], 0) + event["evidence"]["packets"]
    assert told == rules
    assert seen["agreement"]["engine_stats"]["kernel"]["rules"] == {}
    assert stats["packets"] < seen["agreement"]["engine_stats"]["packets"]


@pytest.mark.parametrize("flow", ["passed4", "passed6", "dropped4", "dropped6"])
def test_a_decided_flow_stays_in_the_kernel_until_a_new_connection(seen: dict[str, Any], flow: str) -> None:
    found = seen["decided"][flow]
    assert (found["kernel"], found["engine"], found["engine_for_syn"]) == (100, 0, 1)
    assert found["arrived"] == (100 if flow.startswith("passed") else 0)


@pytest.mark.parametrize("version", [4, 6])
def test_the_bulk_of_a_passed_flow_takes_the_short_cut(seen: dict[str, Any], version: int) -> None:
    fates = seen["bulk"]
    for what in ("out", "back", "short", "decided again"):
        fate = fates[f"{what}{version}"]
        assert (fate["arrived"], fate["cut"], fate["kernel"], fate["engine"]) == (20, 20, 20, 0), (what, fate)
        assert fate["lives"] == [63], "a router lowers it"
    fate = fates[f"end of a burst{version}"]
    assert (fate["arrived"], fate["cut"], fate["kernel"], fate["engine"]) == (20, 0, 20, 0), fate


def test_the_first_segment_after_a_lease_renews_it(seen: dict[str, Any]) -> None:
    fate = seen["bulk"]["after its lease4"]
    assert (fate["arrived"], fate["cut"], fate["kernel"], fate["engine"]) == (20, 19, 20, 0), fate
    assert int(seen["bulk"]["copies on loopback"]) == 0, "a copy only tells of its flow"


@pytest.mark.parametrize("version", [4, 6])
def test_what_a_router_must_look_at_does_not_take_the_short_cut(seen: dict[str, Any], version: int) -> None:
    fates = seen["bulk"]
    exceeded, too_big = ([11, 0], [3, 4]) if version == 4 else ([3, 0], [2, 0])
    last_hop, large = fates[f"last hop{version}"], fates[f"too big{version}"]
    assert (last_hop["arrived"], last_hop["errors"]) == (0, [exceeded])
    assert (large["arrived"], large["errors"]) == (0, [too_big])
    for what in ("after a change of policy", "after a new SYN"):
        fate = fates[f"{what}{version}"]
        assert (fate["arrived"], fate["cut"]) == (2, 0), (what, fate)
        assert fate["engine"], "it is asked again; of a flow that it remembers, once may be enough"
    if version == 4:
        assert (fates["fragment4"]["cut"], fates["fragment4"]["engine"]) == (0, 1)
        assert (fates["options4"]["arrived"], fates["options4"]["cut"]) == (1, 0)


def test_the_engine_sees_fragments_as_they_are(seen: dict[str, Any]) -> None:
    """Conntrack would have joined them; the flow itself was in the kernel's hands already."""
    found = seen["fragments"]
    assert found["passed"] > 0
    assert found["engine"] == found["arrived"] == 4


def test_no_packet_is_lost_while_the_policy_changes(seen: dict[str, Any]) -> None:
    found = seen["reloading"]
    assert found["sent"] > 1000
    assert found["count"] == found["distinct"] == found["sent"]
    assert len(found["policies"]) == 20
    assert found["stats"]["queue_drops"] == 0
    assert found["stats"]["kernel"]["passed"] > 0, "under `open` the flow is decided"
    assert found["stats"]["packets"] > found["sent"] / 4, "under `tm-2022` it is not"


def test_overload_is_counted_and_makes_a_run_invalid(seen: dict[str, Any]) -> None:
    calm, stats = seen["overload"]["calm"], seen["overload"]["stats"]
    assert reasons_invalid(FAITHFUL, {"gw": calm}, [], []) == []
    assert stats["queue_drops"] > 1000
    assert stats["worst_lag_s"] > 0.15
    why = "\n".join(reasons_invalid(FAITHFUL, {"gw": stats}, [], []))
    assert f"gw lost {stats['queue_drops']} packets" in why
    assert f"gw judged {stats['late']} of {stats['packets']} packets" in why
