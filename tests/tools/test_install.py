"""Which commands get what recipes need."""

from __future__ import annotations

from testbed.tools.install import plan
from testbed.tools.recipe import Recipe


def recipe(**programs: str) -> Recipe:
    return Recipe.model_validate({"recipe": "r", "title": "T", "use": {}, "needs": {"programs": programs}})


def test_one_apt_call_pinned_modules_and_words() -> None:
    wanted = recipe(
        a="apt: pkg-b", b="apt: pkg-a", c="go: example.org/c@v1.2.3 tags with_quic", d="pip: d==1.0",
        e="from its makers, example.org/e", f="apt: pkg-f", g="cargo: g@1.0.2", h="go: example.org/h/v2/client@v2.0.1",
    )  # fmt: skip
    steps, by_hand = plan([wanted, wanted], have={"f": True})
    apt, pip, *built = steps
    assert apt.argv[-2:] == ("pkg-a", "pkg-b")
    assert "--no-install-recommends" in apt.argv
    assert pip.argv[-1] == "d==1.0"
    assert [(step.programs, step.builds) for step in built] == [(("c",), True), (("g",), True), (("h",), True)]
    c, g, h = (step.argv[-1] for step in built)
    assert c == (
        "go mod init tool; go get example.org/c@v1.2.3; "
        "go build -trimpath -ldflags=-s -tags with_quic -o built/bin/ example.org/c"
    )
    assert h.endswith("go get example.org/h/v2/client@v2.0.1; go build -trimpath -ldflags=-s -o built/bin/ "
                      "example.org/h/v2/client")  # fmt: skip
    assert (built[1].argv[:2], g) == (("cargo", "install"), "g@1.0.2")
    assert by_hand == {"e": "from its makers, example.org/e"}


def test_nothing_to_do() -> None:
    assert plan([recipe(a="apt: a")], have={"a": True}) == ([], {})
