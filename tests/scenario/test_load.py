"""Loading: what ships is right and can be written out again; files stand beside the scenario; nothing else escapes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed import shipped
from testbed.documents import read_document
from testbed.errors import InputError
from testbed.scenario.load import load_scenario, resolved

SHIPPED = shipped.names("scenarios")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_resolved_scenario_loads_again_from_anywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = load_scenario(name)
    again = tmp_path / "scenario.yaml"
    again.write_text(yaml.safe_dump(resolved(scenario), sort_keys=False))
    monkeypatch.chdir(tmp_path)
    assert load_scenario(again) == scenario.model_copy(update={"extends": None})


def test_files_stand_beside_the_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "policy.yaml").write_text("policy: p\ntitle: t\n")
    (tmp_path / "mine" / "link.yaml").write_text("link: l\nrate: 64 kbit/s\n")
    (tmp_path / "mine" / "s.yaml").write_text(
        "scenario: s\ntitle: t\npolicy: ./policy.yaml\nlink: link.yaml\n"
        "topology: {boxes: {second: policy.yaml}, providers: {mobile: {policy: policy.yaml}}}\n"
        "timeline: [{at: 1 s, policy: policy.yaml, link: link.yaml}]\n"
    )
    (tmp_path / "child.yaml").write_text("scenario: c\nextends: mine/s.yaml\nduration: 5 s\n")
    monkeypatch.chdir("/")
    child = load_scenario(tmp_path / "child.yaml")
    link = child.link_spec
    assert link is not None
    assert link.down.rate == 64e3
    assert {Path(policy) for policy in child.box_policies.values()} == {tmp_path / "mine" / "policy.yaml"}
    assert (child.scenario, child.title, child.duration) == ("c", "t", 5)


def test_a_key_given_again_replaces_the_whole_of_it(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("scenario: s\nextends: social-media\nexpect: []\nseed: 9\n")
    scenario = load_scenario(path)
    assert scenario.expect == ()
    assert scenario.seed == 9
    assert scenario.apps == load_scenario("social-media").apps


def test_verdicts_may_be_one_word_or_a_list(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    app = "apps: [{name: a, app: dns, params: {name: a.example}}]\n"
    path.write_text(f"scenario: s\ntitle: t\n{app}expect: [{{phase: start, app: a, verdict: ok}}]\n")
    assert load_scenario(path).expect[0].verdict == ("ok",)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A shipped scenario with one part replaced by anything."""
    document = read_document(shipped.find(draw(st.sampled_from(SHIPPED)), "scenarios"))
    location = draw(st.sampled_from(sorted(document.lines, key=str)))
    if not location:
        return document.data
    part: Any = document.data
    for step in location[:-1]:
        part = part[step]
    part[location[-1]] = draw(junk)
    return document.data


@settings(max_examples=150, deadline=None)
@given(mutated())
def test_anything_wrong_is_an_input_error_with_a_line(data: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mutated.yaml")
        path.write_text(yaml.safe_dump(data, allow_unicode=True))
        try:
            load_scenario(path)
        except InputError as error:
            assert all(problem.place.rpartition(":")[2].isdigit() for problem in error.problems), error
