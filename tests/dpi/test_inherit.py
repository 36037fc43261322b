"""`extends` of policies: what is taken, in which order, and how a fault is told with the file and line it stands in."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.dpi.policy import load_policy
from testbed.errors import InputError

RULE = "  - {{name: {name}, match: {{sni: {{patterns: [{pattern}]}}}}, action: {{rst: {{}}}}, evidence: {{mark: M, source: x}}}}\n"  # noqa: E501
BASE = "policy: base\ntitle: t\nparser: {dns_max_count: 7}\nrules:\n" + "".join(
    RULE.format(name=name, pattern=f".{name}.example") for name in ("a", "b", "c")
)


def written(tmp_path: Path, text: str, base: str = BASE) -> Path:
    (tmp_path / "base.yaml").write_text(base)
    (tmp_path / "own.yaml").write_text(text)
    return tmp_path / "own.yaml"


def problems(path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_policy(path)
    return [str(problem) for problem in caught.value.problems]


def test_own_rules_come_first_and_a_known_name_takes_its_place(tmp_path: Path) -> None:
    own = "policy: own\ntitle: t\nextends: ./base.yaml\nleave_out: [c]\nrules:\n" + RULE.format(
        name="b", pattern="=new.example"
    ) + RULE.format(name="z", pattern=".z.example")  # fmt: skip
    policy = load_policy(written(tmp_path, own))
    assert policy.rule_names == ("z", "a", "b")
    assert (policy.policy, policy.parser.dns_max_count) == ("own", 7)
    assert [hit.rule for hit in policy.explain("new.example")] == ["b"]
    assert policy.explain("b.example") == ()


def test_a_key_replaces_the_whole_of_that_key(tmp_path: Path) -> None:
    own = "policy: own\ntitle: t\nextends: ./base.yaml\nparser: {dns_over_tcp: true}\n"
    policy = load_policy(written(tmp_path, own))
    assert (policy.parser.dns_over_tcp, policy.parser.dns_max_count) == (True, 65535)
    assert policy.rule_names == ("a", "b", "c")


def test_lists_of_the_base_are_found_beside_it(tmp_path: Path) -> None:
    far = tmp_path / "far"
    (far / "lists").mkdir(parents=True)
    (far / "lists" / "l.txt").write_text(".listed.example\n")
    (far / "base.yaml").write_text(BASE.replace("patterns: [.a.example]", "lists: [l.txt]"))
    (tmp_path / "own.yaml").write_text("policy: own\ntitle: t\nextends: ./far/base.yaml\n")
    assert [hit.rule for hit in load_policy(tmp_path / "own.yaml").explain("listed.example")] == ["a"]


def test_a_shipped_policy_is_extended_by_name(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("policy: own\ntitle: t\nextends: tm-2022\nleave_out: [stun]\n")
    names = load_policy(tmp_path / "own.yaml").rule_names
    assert names == tuple(name for name in load_policy("tm-2022").rule_names if name != "stun")


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ("policy: own\ntitle: t\nextends: ./bsae.yaml\n", "own.yaml:3: `./bsae.yaml`: no such file"),
        ("policy: own\ntitle: t\nextends: tm-2202\n", "own.yaml:3: `tm-2202`: no such policy; did you mean `tm-2022`?"),
        ("policy: own\ntitle: t\nextends: ./own.yaml\n", "own.yaml:3: `./own.yaml` extends itself"),
        ("policy: own\ntitle: t\nextends: [base]\n", "own.yaml:3: `extends`: not text"),
        (
            "policy: own\ntitle: t\nextends: ./base.yaml\nleave_out:\n  - b\n  - cc\n",
            "own.yaml:6: `./base.yaml` has no",
        ),
        ("policy: own\ntitle: t\nleave_out: [a]\n", "own.yaml:3: there is nothing to leave rules out of"),
        ("policy: own\ntitle: t\nextends: ./base.yaml\nplacment: in-path\n", "own.yaml:4: unknown key `placment`"),
    ],
)
def test_faults_of_the_link_are_told(tmp_path: Path, own: str, told: str) -> None:
    assert any(told in problem for problem in problems(written(tmp_path, own))), problems(tmp_path / "own.yaml")


def test_a_fault_in_the_base_is_told_where_it_stands(tmp_path: Path) -> None:
    own = "policy: own\ntitle: t\nextends: ./base.yaml\nrules:\n" + RULE.format(name="z", pattern=".z.example")
    path = written(tmp_path, own, BASE.replace(".b.example", "b.example"))
    (told,) = problems(path)
    assert told.startswith(f"{tmp_path}/base.yaml:6: ")


def test_a_fault_of_an_own_rule_is_told_in_the_own_file(tmp_path: Path) -> None:
    own = "policy: own\ntitle: t\nextends: ./base.yaml\nrules:\n" + RULE.format(name="b", pattern="b.example")
    (told,) = problems(written(tmp_path, own))
    assert told.startswith(f"{tmp_path}/own.yaml:5: ")
