"""Which commands get what recipes need."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from testbed.tools.install import plan
from testbed.tools.recipe import Recipe
from testbed.tools.runner import lacking, missing


def recipe(**needs: dict[str, str]) -> Recipe:
    return Recipe.model_validate({"recipe": "r", "title": "T", "use": {}, "needs": needs})


def test_one_apt_call_pinned_modules_and_words() -> None:
    steps, by_hand = plan({
        "a": "apt: pkg-b", "b": "apt: pkg-a", "c": "go: example.org/c@v1.2.3 tags with_quic", "d": "pip: d==1.0",
        "e": "from its makers, example.org/e", "g": "cargo: g@1.0.2", "h": "go: example.org/h/v2/client@v2.0.1",
        "/usr/lib/i.so": "apt: pkg-a",
    })  # fmt: skip
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


def test_what_is_there_is_not_got_again(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.so"
    wanted = recipe(programs={"sh": "apt: dash", "no-such-program": "apt: a"}, files={str(plugin): "apt: plugins"})
    assert lacking(wanted) == {"no-such-program": "apt: a", str(plugin): "apt: plugins"}
    plugin.touch()
    assert lacking(wanted) == {"no-such-program": "apt: a"}


def test_a_file_that_lacks_is_told_with_its_package(tmp_path: Path) -> None:
    """A plugin of a program that is there comes in a package of its own: without it the tool would be called broken."""
    plugin = tmp_path / "plugin.so"
    assert missing(recipe(files={str(plugin): "apt: plugins"})) == [
        f"the file `{plugin}` is not installed (apt: plugins)"
    ]


@pytest.mark.parametrize(
    ("files", "why"), [({"plugin.so": "apt: p"}, "whole path"), ({"/plugin.so": "go: example.org/p@v1.0.0"}, "package")]
)
def test_a_file_has_a_whole_path_and_a_package(files: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        recipe(files=files)


def test_nothing_to_do() -> None:
    assert plan({}) == ([], {})
