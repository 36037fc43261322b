"""Numbers and verdicts from attempts, and one test against an earlier one."""

from __future__ import annotations

from typing import Any

from testbed.report.tools import as_text
from testbed.tools import judge


def good(first: float = 1.0, begun: float = 0.0, **more: Any) -> dict[str, Any]:
    attempt = {
        "failure": None,
        "operation": None,
        "first_byte_s": first,
        "total_s": first + 1,
        "begun": begun,
        "bytes": 9,
    }
    return {**attempt, **more}


def bad(word: str = "connection_reset", begun: float = 0.0) -> dict[str, Any]:
    return {"failure": word, "operation": "tls_handshake", "total_s": 0.1, "begun": begun}


def test_success_counts_and_takes_quantiles_of_what_succeeded() -> None:
    found = judge.success([good(1.0), good(2.0), good(9.0), bad(), bad()])
    assert (found["ok"], found["of"]) == (3, 5)
    assert found["first_byte_s"] == {"p50": 2.0, "p90": 9.0}
    assert found["failures"] == {"connection_reset at tls_handshake": 2}
    assert judge.success([])["first_byte_s"] == {"p50": None, "p90": None}


def test_verdicts() -> None:
    for ok, of, word in ((5, 5, "passes"), (4, 5, "passes"), (3, 5, "unstable"), (1, 5, "unstable"), (0, 3, "blocked")):
        assert judge.verdict({"ok": ok, "of": of}) == word


def test_load_is_goodput_and_overhead() -> None:
    attempt = good(0.5, bytes=50_000, total_s=1.5, wire_bytes=60_000)
    assert judge.load([attempt]) == {"goodput_bps": 400_000, "bytes": 50_000, "overhead": 0.2}
    assert judge.load([bad()]) is None


def test_a_soak_is_cut_where_the_policy_changed() -> None:
    attempts = [good(0.0, float(t), total_s=0.1) if t < 3 or t > 6 else bad(begun=float(t)) for t in range(9)]
    assert judge.soak(attempts, [2.5, 5.5], 9.0) == {"before": 1.0, "under": 0.0, "after": 0.67, "silence_s": 5.0}


def test_why_it_was_blocked_is_the_rule_with_its_first_evidence() -> None:
    events = [
        {"rule": "tls-sni", "reason": "reset", "flow": "a > b", "evidence": {"sni": n}, "verdict": "pass",
         "injections": 1, "trigger": {"hash": n}}
        for n in ("one", "two")
    ] + [{"rule": "note", "reason": "policy replaced", "flow": "", "verdict": "pass", "injections": 0}]  # fmt: skip
    (entry,) = judge.blocked_by(events)
    assert (entry["rule"], entry["times"], entry["evidence"], entry["packet"]) == ("tls-sni", 2, {"sni": "one"}, "one")


def test_a_throttle_is_a_reason_though_the_packet_that_drew_it_passed() -> None:
    note = {"flow": "a > b", "verdict": "pass", "injections": 0, "evidence": {"sni": "t.co"}}
    events = [{**note, "rule": "slow", "reason": "throttled"}, {**note, "rule": "seen", "reason": "noted"}]
    assert [entry["rule"] for entry in judge.blocked_by(events)] == ["slow"]


def test_what_the_kernel_dropped_by_itself_counts_by_packets() -> None:
    events = [
        {"rule": "stun", "reason": "dropped by the kernel", "flow": "", "verdict": "drop", "evidence": {"packets": n}}
        for n in (2, 3)
    ]
    (entry,) = judge.blocked_by(events)
    assert (entry["rule"], entry["times"], entry["evidence"]) == ("stun", 5, {})
    policy = {"policy": "p", "verdict": "blocked", "why": [], "blocked_by": [entry]}
    text = as_text([{"recipe": "r", "title": "R", "policies": [policy]}])
    assert "    by `stun` 5x: dropped by the kernel\n" in text + "\n"


def result(verdict: str = "passes", ok: int = 5, first: float = 1.0, bps: int = 400_000) -> dict[str, Any]:
    success = {"ok": ok, "of": 5, "first_byte_s": {"p50": first, "p90": first}}
    rules = [{"rule": "tls-sni"}] if verdict == "blocked" else []
    policy = {
        "policy": "tm-2022",
        "verdict": verdict,
        "success": success,
        "load": {"goodput_bps": bps},
        "blocked_by": rules,
    }
    return {"recipe": "r", "policies": [policy]}


def test_without_a_link_a_rate_is_the_machine_s() -> None:
    before, now = result(bps=577_000_000) | {"link": "none"}, result(bps=245_000_000)
    assert judge.regressions(before, now | {"link": "none"}) == []
    assert judge.regressions(before | {"link": "lab"}, now | {"link": "lab"})


def test_regressions_name_the_difference() -> None:
    before = result()
    assert judge.regressions(before, result(first=1.4, bps=300_000, ok=4)) == []
    assert judge.regressions(before, result("blocked", ok=0)) == ["tm-2022: blocked, was passes (by `tls-sni`)"]
    worse = judge.regressions(before, result(ok=3, first=2.0, bps=100_000))
    assert worse == [
        "tm-2022: 60% of the connections succeed, were 100%",
        "tm-2022: the first byte comes after 2.00 s, came after 1.00 s",
        "tm-2022: 100 kbit/s, were 400",
    ]
    assert judge.regressions(result("blocked", ok=0), result()) == []
    assert judge.regressions({"policies": []}, result("blocked")) == []


def test_without_a_link_a_first_byte_that_comes_far_later_is_still_a_regression() -> None:
    bare = {"link": "none"}
    assert judge.regressions(result(first=0.05) | bare, result(first=0.6) | bare) == []
    assert judge.regressions(result(first=0.05) | bare, result(first=2.05) | bare) == [
        "tm-2022: the first byte comes after 2.05 s, came after 0.05 s"
    ]
    assert judge.regressions(result(first=5.0) | bare, result(first=8.0) | bare) == [], "a slow machine"


def test_a_tool_that_no_longer_survives_a_change_of_policy_is_a_regression() -> None:
    def soaked(**soak: Any) -> dict[str, Any]:
        found = result()
        return found | {"policies": [found["policies"][0] | {"soak": soak}]}

    good = soaked(before=1.0, under=1.0, after=1.0, silence_s=1.0)
    assert judge.regressions(good, soaked(before=1.0, under=0.67, after=None, silence_s=2.0)) == []
    assert judge.regressions(good, soaked(before=1.0, under=0.0, after=0.33, silence_s=6.0)) == [
        "tm-2022: in the soak 0% succeed under the policy, were 100%",
        "tm-2022: in the soak 33% succeed after it went, were 100%",
    ]
    assert judge.regressions(good, soaked(failed="it crashed")) == ["tm-2022: the soak failed: it crashed"]
    assert judge.regressions(result(), good) == judge.regressions(good, result()) == []


def test_a_baseline_of_a_tool_that_did_not_start_can_be_compared_with() -> None:
    dead = {"recipe": "r", "policies": [{"policy": "tm-2022", "verdict": "broken", "why": [], "started": "no key"}]}
    assert judge.regressions(dead, dead) == []
    assert judge.regressions(dead, result()) == []
    assert judge.regressions(result(), dead) == ["tm-2022: broken, was passes"]


def test_times_of_another_link_are_not_compared_and_that_is_said() -> None:
    slow = {**result(first=9.0, bps=1000), "link": "national-2021"}
    quick = {**result(), "link": "none"}
    assert judge.regressions(quick, slow) == []
    assert judge.not_compared(quick, slow) == ["the baseline's link is none: times and rates are not compared"]
    assert judge.not_compared(slow, slow) == []


def test_what_a_baseline_does_not_hold_is_said() -> None:
    assert judge.not_compared(None, result()) == ["the baseline has no r: judged as without one"]
    (said,) = judge.not_compared({"policies": []}, result("blocked"))
    assert said == "the baseline proves nothing under tm-2022: no verdict there is a regression"


def test_what_blocked_holds_the_packets_bytes() -> None:
    trigger = {"hash": "ab", "size": 60, "at": 40, "bytes": b"GET t.co".hex()}
    event = {"rule": "http", "reason": "reset", "flow": "a > b", "verdict": "drop", "evidence": {}, "trigger": trigger}
    (entry,) = judge.blocked_by([event])
    assert (entry["size"], entry["at"], bytes.fromhex(entry["bytes"])) == (60, 40, b"GET t.co")
    policy = {"policy": "p", "verdict": "blocked", "why": [], "blocked_by": [entry]}
    text = as_text([{"recipe": "r", "title": "R", "policies": [policy]}])
    assert "      packet ab, 60 bytes, from 40 on: GET t.co" in text


def test_a_broken_tools_last_words_are_shown_where_nothing_else_explains_it() -> None:
    policy = {"policy": "open", "verdict": "broken", "why": [], "blocked_by": [], "said": {"client": "no route\nbye"}}
    text = as_text([{"recipe": "r", "title": "R", "policies": [policy]}])
    assert "    client said: no route\n    client said: bye" in text
    assert "said" not in as_text([{"recipe": "r", "title": "R", "policies": [{**policy, "started": "it crashed"}]}])
