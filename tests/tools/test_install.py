"""Which commands get what recipes need."""

from __future__ import annotations

from testbed.tools.install import plan
from testbed.tools.recipe import Recipe


def recipe(**programs: str) -> Recipe:
    return Recipe.model_validate({"recipe": "r", "title": "T", "use": {}, "needs": {"programs": programs}})


def test_one_apt_call_pinned_modules_and_words() -> None:
    wanted = recipe(
        a="apt: pkg-b", b="apt: pkg-a", c="go: example.org/c@v1.2.3 tags with_quic", d="pip: d==1.0",
        e="from its makers, example.org/e", f="apt: pkg-f",
    )  # fmt: skip
    steps, by_hand = plan([wanted, wanted], have={"f": True})
    apt, pip, go = steps
    assert apt.argv[-2:] == ("pkg-a", "pkg-b")
    assert "--no-install-recommends" in apt.argv
    assert pip.argv[-1] == "d==1.0"
    assert go.argv[-3:] == ("-tags", "with_quic", "example.org/c@v1.2.3")
    assert (go.programs, go.go) == (("c",), True)
    assert by_hand == {"e": "from its makers, example.org/e"}


def test_nothing_to_do() -> None:
    assert plan([recipe(a="apt: a")], have={"a": True}) == ([], {})
