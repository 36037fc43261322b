"""Plug-ins: the user's own Python function and ONNX model as matchers, and how their mistakes are told."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from testbed.dpi.decision import Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy
from testbed.errors import InputError
from testbed.middlebox.plugins import allow, load_allowed
from tests.dpi.one_rule import udp
from tests.dpi.playbook import Playbook, playbook, wait

FUNCTION = """
from scapy.layers.inet import UDP

def heavy(packet, about):
    if UDP in packet and len(packet[UDP].payload) > 100 and about["from_client"]:
        return {"bytes": len(packet[UDP].payload), "seen": about["data_packets"]}
"""


def policy(tmp_path: Path, plugin: str) -> Policy:
    path = tmp_path / "p.yaml"
    path.write_text(
        "policy: p\ntitle: t\nplacement: in-path\nrules:\n"
        f"  - {{name: own, match: {{plugin: '{plugin}'}}, action: {{drop: packet}},\n"
        "     evidence: {mark: G, source: x}}\n"
    )
    return load_allowed(str(path), {}, plugins=True)


def dropped(book: Playbook) -> bool:
    return book.last.verdict is Verdict.DROP


def test_a_python_function_sees_scapy_packets(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FUNCTION)
    book = playbook(Engine(policy(tmp_path, "python:own.py:heavy"), seed=1)) >> udp(bytes(50))
    assert not dropped(book)
    assert dropped(book >> udp(bytes(101)))
    assert book.last.notes[0].evidence == {"bytes": 101, "seen": 2}
    assert not dropped(book >> udp(bytes(101), back=True))


def model(path: Path, *, label: bool) -> None:
    """Write a model of four packets: a logistic function of the first size less the last gap."""
    weights = [0.0] * 8
    weights[0], weights[7] = 0.1, -100.0
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["share"]),
        *([helper.make_node("Cast", ["share"], ["label"], to=TensorProto.INT64)] if label else []),
    ]
    kind = TensorProto.INT64 if label else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("label" if label else "share", kind, [1, 1])],
        [helper.make_tensor("w", TensorProto.FLOAT, [8, 1], weights)],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(made)
    path.write_bytes(made.SerializeToString())


@pytest.mark.parametrize("plugin", ["onnx:m.onnx", "onnx:m.onnx@0.9"])
def test_a_model_is_asked_at_its_last_packet(tmp_path: Path, plugin: str) -> None:
    model(tmp_path / "m.onnx", label=False)
    book = playbook(Engine(policy(tmp_path, plugin), seed=1))
    seen = [dropped(book >> udp(bytes(40), back=number == 2)) for number in range(6)]
    assert seen == [False, False, False, True, False, False]


def test_a_late_packet_or_a_high_bar_is_no_hit(tmp_path: Path) -> None:
    model(tmp_path / "m.onnx", label=False)
    book = playbook(Engine(policy(tmp_path, "onnx:m.onnx"), seed=1))
    book >> udp(bytes(40)) >> udp(b"x") >> udp(b"x") >> wait(1) >> udp(b"x")
    assert not dropped(book)
    book = playbook(Engine(policy(tmp_path, "onnx:m.onnx@0.999"), seed=1))
    for _ in range(4):
        book >> udp(bytes(40))
    assert not dropped(book)


def test_a_label_other_than_nought_matches(tmp_path: Path) -> None:
    model(tmp_path / "m.onnx", label=True)
    book = playbook(Engine(policy(tmp_path, "onnx:m.onnx"), seed=1))
    for _ in range(4):
        book >> udp(bytes(500))
    assert dropped(book)
    assert book.last.notes[0].evidence == {"model": "m.onnx", "output": 1.0}


@pytest.mark.parametrize(
    ("plugin", "content", "told"),
    [
        ("python:own.py:heavy", None, "no such file"),
        ("python:own.py:light", FUNCTION, "no function `light`"),
        ("python:own.py:heavy", "def heavy(:\n", r"own\.py:1: the plug-in raised SyntaxError"),
        ("ruby:own.py", None, "not a plug-in"),
        ("onnx:own.py", "not a model", "not an ONNX model"),
        ("onnx:own.py@much", "not a model", "no share"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, plugin: str, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / "own.py").write_text(content)
    with pytest.raises(InputError, match=told):
        policy(tmp_path, plugin)


def test_a_function_that_raises_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def f(packet, about):\n    return about['no']\n")
    engine = Engine(policy(tmp_path, "python:own.py:f"), seed=1)
    with pytest.raises(InputError, match=r"own\.py:2: the plug-in raised KeyError"):
        playbook(engine) >> udp(b"x")


def test_a_policy_without_plug_ins_stays_as_it_is(tmp_path: Path) -> None:
    plain = Policy.model_validate({"policy": "p", "title": "t"})
    assert allow(plain, tmp_path) is plain


@pytest.mark.parametrize("plugins", [False, True])
def test_where_a_plug_in_is_named_is_told(tmp_path: Path, *, plugins: bool) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "policy: own\ntitle: t\nplacement: in-path\nrules:\n  - name: r\n    match: {plugin: 'python:none.py:f'}\n"
        "    action: {drop: packet}\n    evidence: {mark: U, source: test}\n"
    )
    with pytest.raises(InputError, match=f"{path}:6: {'no such file' if plugins else 'plug-ins are off'}"):
        load_allowed(str(path), {}, plugins=plugins)
