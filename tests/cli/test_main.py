"""The command line without a sandbox: exit statuses, errors as text and as JSON, and no traceback for any input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from testbed.cli.main import VERBS, cli, main


@dataclass(frozen=True, slots=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Invoke = Callable[..., Done]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Invoke:
    """Call the command line in this process, from a folder."""

    def call(*arguments: str, cwd: Path) -> Done:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["testbed", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        shown = capfd.readouterr()
        return Done(int(left.value.code or 0), shown.out, shown.err)

    return call


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_speaks_json_and_tells_what_it_does(verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    assert command.short_help
    below = [command]
    if isinstance(command, click.Group):
        context = click.Context(command)
        below += [found for name in command.list_commands(context) if (found := command.get_command(context, name))]
    assert all(each.help for each in below)
    assert any("--json" in {option for parameter in each.params for option in parameter.opts} for each in below)


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("run", "{bad}"), "bad.yaml:2"), (("check", "{bad}"), "bad.yaml:2"), (("run", "{none}"), "none.yaml:1"),
        (("run", "{folder}"), "folder.yaml:1"), (("check", "{binary}"), "binary.yaml:1"),
        (("run", "imo-goes-drak"), "imo-goes-drak"),
        (("replay", "{none}", "--policy", "open"), "none.yaml"), (("replay", "{binary}", "--policy", "open"), ""),
        (("report", "{none}"), "none.yaml"), (("enter", "{none}", "client1"), "none.yaml"),
        (("exec", "--", "no-such-program"), "no-such-program"), (("run", "social-media", "--seed", "x"), ""),
        (("exec", "--policy", "open"), ""), (("nonsense",), ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_bad_input_is_status_2_with_a_place_and_no_traceback(
    invoke: Invoke, arguments: tuple[str, ...], place: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("scenario: bad\nduration: 5\n")
    (tmp_path / "binary.yaml").write_bytes(bytes(range(128, 256)))
    (tmp_path / "folder.yaml").mkdir()
    names = {name: f"{name}.yaml" for name in ("bad", "none", "folder", "binary")}
    done = invoke(*(argument.format(**names) for argument in arguments), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert place in done.stderr
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


def test_problems_as_json(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("scenario: bad\nduration: 5\n")
    done = invoke("run", "bad.yaml", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert done.returncode == told["status"] == 2
    assert [problem["place"] for problem in told["problems"]] == ["bad.yaml:1", "bad.yaml:2"]
    assert all(problem["what"] and problem["mend"] for problem in told["problems"])


def test_a_place_that_can_not_be_written_is_bad_input(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for option, value in (("--out", "file"), ("--out", "file/below"), ("--into", "file")):
        done = invoke("run", "shutdown-2022-04", option, value, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "file" in done.stderr
        assert "Traceback" not in done.stderr


def test_what_ships_is_listed_with_its_title(invoke: Invoke, tmp_path: Path) -> None:
    found = json.loads(invoke("list", "--json", cwd=tmp_path).stdout)
    links = json.loads(invoke("list", "links", "apps", "--json", cwd=tmp_path).stdout)
    assert links == {kind: found[kind] for kind in ("links", "apps")}
    for kind, name in (("scenarios", "imo-goes-dark"), ("policies", "tm-2022"), ("links", "national-2021"),
                       ("recipes", "ssh"), ("profiles", "imo")):  # fmt: skip
        assert found[kind][name]


def test_all_that_ships_is_right(invoke: Invoke) -> None:
    root = Path(__file__).parent.parent.parent
    files = [str(path) for folder in ("scenarios", "scenarios/links", "policies", "recipes")
             for path in sorted((root / folder).glob("*.yaml"))]  # fmt: skip
    done = invoke("check", *files, cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(files)} files right\n"
