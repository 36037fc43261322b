"""A tool's word under a policy, from what was seen: only one that works without a censor can be blocked by one."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.run.tool_result import nothing_under, outcome_word

GOOD, NONE = {"ok": 3, "of": 3}, {"ok": 0, "of": 3}


@pytest.mark.parametrize(
    ("seen", "judged", "works", "word"),
    [
        ({"success": GOOD}, True, True, "passes"),
        ({"success": NONE}, True, True, "blocked"),
        ({"success": NONE}, True, False, "broken"),  # it hangs everywhere: no censor is needed for that
        ({"success": NONE}, False, True, "broken"),
        ({"success": NONE, "started": "no route"}, True, True, "blocked"),
        ({"success": NONE, "started": "no route"}, True, False, "broken"),
        ({"success": GOOD, "died": ["it crashed"]}, True, True, "broken"),
        ({"success": GOOD}, True, False, "passes"),
    ],
)
def test_only_a_tool_that_works_without_a_censor_can_be_blocked(
    seen: dict[str, Any], judged: bool, works: bool, word: str
) -> None:
    assert outcome_word({**nothing_under("p"), **seen}, judged=judged, works=works) == word
