"""Lab 7: what was dropped and what passed, by the captures of the own run; and another such policy, replayed."""

from __future__ import annotations

from testbed.dpi.policy import load_policy
from testbed.labs.evidence import Frame
from testbed.labs.rehearsal import rehearse
from testbed.labs.work import Work
from testbed.run.directory import read_lines
from testbed.scenario.topology import GROUPS

_QUIC_OR_DNS = (53, 443)


def examine(work: Work) -> None:
    """Mark lab 7."""
    work.judge("call_frame: the first packet of a call that never came out", lambda: _is_call(work, _call(work)))
    work.judge("call_length, call_begins: what the censor saw in it", lambda: _looks(work),
               "of call_frame: UDP's length less 8, and the first two bytes of data.data")  # fmt: skip
    work.judge("rule: the rule that stopped it", lambda: _rule(work),
               "the line of events.jsonl that has call_frame among its frames")  # fmt: skip
    work.judge("media_name: the name by which photos were stopped", lambda: _named(work, "media_name", stopped=True),
               "one name, of a TLS hello that went into the box and never came out")  # fmt: skip
    work.judge("text_name: the name under which text went on", lambda: _named(work, "text_name", stopped=False),
               "one name, of a TLS hello that was never stopped")  # fmt: skip
    work.judge("ours.yaml: stops every call, and text and photos go on", lambda: _ours(work))


def _call(work: Work) -> Frame | None:
    return work.frame("call_frame")


def _is_call(work: Work, frame: Frame | None) -> bool | str:
    if frame is None or frame.datagram is None or frame.source != work.address:
        return "that frame is no UDP packet of your host"
    if frame.number not in work.dropped or frame.datagram.dport in _QUIC_OR_DNS:
        return "it came out on the other side, or is no call"
    first = min(number for number, other in work.dropped.items() if other.flow == frame.flow)
    return frame.number == first or "an earlier packet of that call was dropped"


def _looks(work: Work) -> bool:
    frame = _call(work)
    if frame is None or _is_call(work, frame) is not True:
        return False
    begins = "".join(str(work.value("call_begins") or "").lower().replace(":", " ").split())
    return work.value("call_length") == len(frame.payload) and begins == frame.payload[:2].hex()


def _rule(work: Work) -> bool:
    frame = _call(work)
    rules = {
        str(event.get("rule"))
        for event in read_lines(work.run.events)
        if frame is not None and frame.number in event.get("frames", {}).get("inside", [])
    }
    return bool(rules) and set(work.words("rule")) <= rules and bool(work.words("rule"))


def _named(work: Work, key: str, *, stopped: bool) -> bool:
    troubled = {f.flow for f in work.dropped.values()} | {f.flow for f in work.injected.values()}
    dropped = {f.flow for f in work.dropped.values()}
    hellos = [f for f in work.inside if f.source == work.address and f.server_name]
    bad = {str(f.server_name) for f in hellos if f.flow in dropped}
    good = {str(f.server_name) for f in hellos if f.flow not in troubled}
    return bool(set(work.words(key)) & (bad if stopped else good - bad)) and len(work.words(key)) == 1


def _ours(work: Work) -> bool | str:
    policy = load_policy(work.file("ours.yaml"), GROUPS)
    if any(rule.match.payload for rule in policy.rules):
        return "it looks at the first bytes as well; find another mark"
    call = _call(work)
    if call is None or call.datagram is None:
        return "name a call_frame first"
    to = (call.target, call.datagram.dport)
    calls = {
        f.flow for f in work.inside if f.source == work.address and f.datagram and (f.target, f.datagram.dport) == to
    }
    stopped = rehearse(work.run.capture("gateway", "inside"), work.file("ours.yaml"))
    hit = {f.flow for f in work.inside if f.number in stopped.all}
    if calls - hit:
        return f"{len(calls - hit)} of {len(calls)} calls get through"
    others = [f for f in work.inside if f.number in stopped.all and f.flow not in calls]
    return f"it also hits frame {others[0].number}, which is no call's" if others else True
