"""`testbed lab check` as it is called."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from testbed.cli.lab import command


def test_what_a_student_wrote_makes_no_check_fall(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        folder = tmp_path / f"client{number}"
        folder.mkdir()
        (folder / "answers.yaml").write_text(f"host: client{number}\n")
        (folder / "plan.yaml").write_text("targets: [{address: '[/red] :x:', consent: own}]\n")
    done = CliRunner().invoke(command, ["check", "8", "--folder", str(tmp_path)], standalone_mode=False)
    assert done.exception is None
    assert done.return_value == 1
    said = "".join(done.stdout.split())
    assert said.count("'[/red]:x:'isnoaddress") == 3
    places = [said.index(f"client{number}:") for number in (1, 2, 10)]
    assert places == sorted(places)
