"""Matrix files: what is wrong is said with its line and its mend, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed import shipped
from testbed.campaign.load import load_matrix
from testbed.cli.check import problems_of
from testbed.errors import InputError

HEAD = "matrix: m\ntitle: T\n"
TOOLS = "tools: [direct, ssh]\npolicies: [tm-2022]\n"
SCENARIO = "scenario: own\ntitle: T\npolicy: open\napps:\n  - {name: call, app: call, profile: imo}\n"


@pytest.mark.parametrize("name", shipped.names("matrices"))
def test_shipped_matrices_are_right(name: str) -> None:
    assert load_matrix(name).matrix == name


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "m.yaml"
    path.write_text(text, encoding="utf-8")
    (tmp_path / "own.yaml").write_text(SCENARIO, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_matrix(path)
    return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]


WRONG = {
    "": "m.yaml:1: no cell is left to run; name `scenarios`, or `tools` with `policies`",
    "tools: [direct]\n": "m.yaml:3: under which policy is `direct` tested?; add `policies: …`",
    "include: [{tool: direct}]\n": "m.yaml:3: under which policy is `direct` tested?; add `policy: …`",
    "tols: [direct]\n": "m.yaml:3: unknown key `tols`; did you mean `tools`?",
    "tools: [drect]\npolicies: [tm-2022]\n": "m.yaml:3: `drect`: no such recipe; did you mean `direct`?",
    "tools: [direct]\npolicies: [tm-222]\n": "m.yaml:4: `tm-222`: no such policy; did you mean `tm-2022`?",
    "scenarios: [imo-goes-drak]\n": "m.yaml:3: `imo-goes-drak`: no such scenario; did you mean `imo-goes-dark`?",
    "scenarios: [./none.yaml]\n": "m.yaml:3: `none.yaml`: no such file; check the name",
    TOOLS + "test: {link: natinal-2021}\n": "m.yaml:5: `natinal-2021`: no such link; did you mean `national-2021`?",
    "tools: [{recipe: geneva, options: {stategy: x}}]\npolicies: [tm-2022]\n":
        "m.yaml:3: no option `stategy`; did you mean `strategy`?",
    TOOLS + "seeds: 5-2\n": "m.yaml:5: `seeds`: '5-2' is no range; put the smaller number first, at most 10,000 seeds",
    TOOLS + "seeds: [one]\n": "m.yaml:5: `seeds`: 'one' is no seed; write numbers or a range like `1-5`",
    TOOLS + "test: {control: foo}\n": "m.yaml:5: `control`: 'foo' is no page; write it as `https://site.example/`",
    TOOLS + "test: {timeout: 0 s}\n": "m.yaml:5: `timeout`: too small; choose 0.1 or more",
    TOOLS + "seeds: [1, 1-3]\n": "m.yaml:5: a seed stands twice; use `repeat` to run a cell again",
    TOOLS + "repeat: 0\n": "m.yaml:5: `repeat`: too small; choose 1 or more",
    TOOLS + "timeout: 60\n": "m.yaml:5: `timeout`:",
    "tools: [ssh, {recipe: ssh}]\npolicies: [tm-2022]\n": "m.yaml:3: `ssh` stands twice; give one of them a `name`",
    "tools: [{recipe: ssh, name: a b}]\npolicies: [tm-2022]\n": "m.yaml:3: `name`: 'a b' can't be a name;",
    TOOLS + "exclude: [{tool: shs}]\n": "m.yaml:5: no tool `shs` in this matrix; did you mean `ssh`?",
    TOOLS + "exclude: [{seed: 7}]\n": "m.yaml:5: no seed `7` in this matrix; known: 1",
    TOOLS + "exclude: [{policy: tm-2022}]\n": "m.yaml:1: no cell is left to run;",
    TOOLS + "expect: [{tool: ssh, outcome: passed}]\n":
        "m.yaml:5: none of its cells can end as `passed`; write one of `ok`, `unstable`, `blocked`, `broken`, `any`",
    TOOLS + "expect: [{tool: ssh, outcome: blokced}]\n": "m.yaml:5: `outcome`: `blokced` is not a word it knows;",
    TOOLS + "exclude: [{tool: ssh}]\nexpect: [{tool: ssh, outcome: ok}]\n":
        "m.yaml:6: no tool `ssh` in this matrix; known: direct",
    TOOLS + "include: [{tool: ssh, policy: tm-2022}]\n":
        "m.yaml:5: the cell `ssh+tm-2022+1` is there twice; take one of them out, or give its tool a `name`",
    TOOLS + "include: [{policy: tm-2022}]\n": "m.yaml:5: a cell of nothing; name a `scenario` or a `tool`",
    "scenarios: [./own.yaml]\ntools: [ssh]\n":
        "m.yaml:4: `ssh` in `own`: no app of `own` can go through it; `exclude` the pair of `own` and `ssh`",
    "scenarios: [imo-goes-dark]\ntools: [doh]\n": "m.yaml:4: `doh` in `imo-goes-dark`:",
    TOOLS + "seeds: 1-9999\nrepeat: 1000\n": "m.yaml:1: 19,998,000 cells; stay below 100,000: run several matrices",
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG.items(), ids=lambda value: value[:40].replace("\n", " "))
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(line.startswith(said) for line in found), "\n".join(found)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, HEAD + "tools: [shs]\npolicies: [tm-222]\nscenarios: [x]\n")
    assert len(found) == 3


def test_check_knows_a_matrix(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(HEAD + "tools: [direct]\n")
    assert [problem.place for problem in problems_of(path)] == [f"{path}:3"]


def test_files_stand_beside_the_matrix(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(SCENARIO)
    path = tmp_path / "m.yaml"
    path.write_text(HEAD + "scenarios: [./own.yaml]\n")
    assert load_matrix(path).scenarios == (str(tmp_path / "own.yaml"),)
