"""Keys: equal as long as nothing changed, wherever the files stand; another one as soon as a byte did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.campaign import inputs
from testbed.campaign.cells import Cell, cells_of
from testbed.campaign.inputs import Key, files_of, key_of, programs_of
from testbed.campaign.load import load_matrix
from testbed.campaign.spec import ToolEntry
from testbed.tools import runner

FILES = {
    "m.yaml": "matrix: m\ntitle: T\ntools: [./mine.yaml]\npolicies: [./wall.yaml]\ninclude: [{scenario: ./day.yaml}]\n",
    "mine.yaml": "recipe: mine\ntitle: M\nextends: ./base.yaml\n",
    "base.yaml": "recipe: base\ntitle: B\nneeds: {programs: {mytool: by hand}}\nuse: {}\n",
    "wall.yaml": "policy: wall\ntitle: W\nextends: ./low.yaml\n",
    "low.yaml": "policy: low\ntitle: L\nplacement: in-path\nrules:\n  - name: r\n"
                "    match: {sni: {lists: [names.txt]}}\n"
                "    action: {rst: {}}\n    evidence: {mark: U, source: none}\n",
    "lists/names.txt": "=a.example\n",
    "day.yaml": "scenario: day\ntitle: D\nextends: ./night.yaml\n",
    "night.yaml": "scenario: night\ntitle: N\nlink: ./thin.yaml\ntimeline: [{at: 5 s, policy: ./late.yaml}]\n",
    "thin.yaml": "link: thin\nrate: 1 Mbit/s\n",
    "late.yaml": "policy: late\ntitle: L\n",
    "bin/mytool": "#!/bin/sh\n",
}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """Forget what was read for another test, as a new process would."""
    for cached in (inputs._files, inputs._programs, inputs._digest_of):
        cached.cache_clear()
    yield


def written(folder: Path, **changed: str) -> Path:
    for name, text in {**FILES, **changed}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return folder


def keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Key]:
    monkeypatch.setenv("TESTBED_TOOLS", str(folder / "bin"))
    assert str(folder / "bin") in runner.search_path()
    matrix = load_matrix(folder / "m.yaml")
    return [key_of(matrix, cell) for cell in cells_of(matrix)]


def test_all_that_a_cell_is_read_from_is_known(tmp_path: Path) -> None:
    written(tmp_path)
    matrix = load_matrix(tmp_path / "m.yaml")
    tool, scenario = (
        {path.relative_to(tmp_path).as_posix() for path in files_of(matrix, cell) if path.is_relative_to(tmp_path)}
        for cell in cells_of(matrix)
    )
    assert tool == {"mine.yaml", "base.yaml", "wall.yaml", "low.yaml", "lists/names.txt"}
    assert scenario == {"day.yaml", "night.yaml", "thin.yaml", "late.yaml"}


def test_the_same_files_elsewhere_have_the_same_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert keys(written(tmp_path / "a"), monkeypatch) == keys(written(tmp_path / "b"), monkeypatch)


@pytest.mark.parametrize(
    ("name", "text", "changes"),
    [
        ("lists/names.txt", "=b.example\n", (True, False)),
        ("base.yaml", FILES["base.yaml"] + "about: other\n", (True, False)),
        ("low.yaml", FILES["low.yaml"].replace("rst: {}", "drop: flow"), (True, False)),
        ("thin.yaml", "link: thin\nrate: 2 Mbit/s\n", (False, True)),
        ("late.yaml", "policy: late\ntitle: Later\n", (False, True)),
        ("night.yaml", FILES["night.yaml"] + "duration: 20 s\n", (False, True)),
    ],
)
def test_a_changed_file_changes_the_keys_of_those_it_concerns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, changes: tuple[bool, bool]
) -> None:
    before = keys(written(tmp_path / "a"), monkeypatch)
    after = keys(written(tmp_path / "b", **{name: text}), monkeypatch)
    assert tuple(one.inputs != other.inputs for one, other in zip(before, after, strict=True)) == changes
    assert [one.programs for one in before] == [other.programs for other in after]


def test_a_new_build_is_a_new_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(written(tmp_path / "a"), monkeypatch)
    after = keys(written(tmp_path / "b", **{"bin/mytool": "#!/bin/sh\n# newer\n"}), monkeypatch)
    assert [one.inputs for one in before] == [other.inputs for other in after]
    assert [one.programs != other.programs for one, other in zip(before, after, strict=True)] == [True, False]


def test_seed_options_and_the_test_are_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        keys(written(tmp_path / str(number), **{"m.yaml": FILES["m.yaml"] + more}), monkeypatch)[0].inputs
        for number, more in enumerate(("", "seeds: 2\n", "test: {connections: 9}\n", "capture: true\n"))
    }
    assert len(found) == 4


def test_what_is_expected_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"m.yaml": FILES["m.yaml"] + "expect: [{outcome: any}]\n"}
    assert keys(written(tmp_path / "a"), monkeypatch) == keys(written(tmp_path / "b", **more), monkeypatch)


def test_a_script_that_an_interpreter_is_given_is_the_tool(tmp_path: Path) -> None:
    script, recipe = tmp_path / "tool.py", tmp_path / "tool.yaml"
    script.write_text("print('one')\n")
    recipe.write_text(
        f"recipe: r\ntitle: T\nuse: {{}}\nserver: [{{name: s, argv: ['{{{{ python }}}}', {script}, /nowhere.conf]}}]\n"
    )
    cell = Cell("c", None, ToolEntry(recipe=str(recipe)), "tm-2022", 1, 1, ("ok",))
    assert programs_of(cell) == {str(script)}
