"""A policy that is a program: compiled, never run, and refused where its rules would have to be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.dpi.policy import load_policy, refuse_program
from testbed.errors import InputError
from testbed.middlebox.plugins import load_allowed


def test_it_is_compiled_and_not_run(tmp_path: Path) -> None:
    box = tmp_path / "my_box.py"
    box.write_text("raise SystemExit('was run')\n")
    policy = load_policy(box)
    assert (policy.policy, policy.program, policy.rules) == ("my_box", str(box), ())


@pytest.mark.parametrize(
    ("text", "said"), [("def\n", "my_box.py:1: not Python: invalid syntax"), (None, "my_box.py: can't be read")]
)
def test_what_is_wrong_with_it_is_said(tmp_path: Path, text: str | None, said: str) -> None:
    box = tmp_path / "my_box.py"
    if text is not None:
        box.write_text(text)
    with pytest.raises(InputError, match=said):
        load_policy(box)


def test_the_engine_does_not_take_it_for_an_open_country(tmp_path: Path) -> None:
    box = tmp_path / "my_box.py"
    box.write_text("print('ready')\n")
    with pytest.raises(InputError, match="a program can't be read by the engine; it works as the policy of a box"):
        load_allowed(str(box), {}, plugins=True)
    with pytest.raises(InputError, match="a program can't be explained"):
        refuse_program(load_policy(box), "be explained")
