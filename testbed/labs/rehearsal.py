"""A capture through a policy: which conversations it would have stopped. Pure but for reading the files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from testbed.dpi.decision import Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import load_policy
from testbed.middlebox.replay import Replay
from testbed.scenario.topology import GROUPS


@dataclass(frozen=True, slots=True)
class Stopped:
    """The frames at which a censor would have acted."""

    dropped: frozenset[int]
    answered: frozenset[int]
    """Frames that drew packets of the censor's."""

    @property
    def all(self) -> frozenset[int]:
        """Either."""
        return self.dropped | self.answered


def rehearse(capture: Path, policy: Path | str) -> Stopped:
    """Replay a capture through a policy; `InputError` if the policy is wrong."""
    engine = Engine(load_policy(policy, GROUPS), seed=1)
    dropped, answered = set(), set()
    with capture.open("rb") as source:
        for judged in Replay(engine).run(source):
            if judged.decision.verdict is Verdict.DROP:
                dropped.add(judged.frame)
            if judged.decision.injections:
                answered.add(judged.frame)
    return Stopped(frozenset(dropped), frozenset(answered))
