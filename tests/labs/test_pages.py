"""What holds of every lab without playing it: pages, forms and scenarios fit each other in all languages."""

from __future__ import annotations

import configparser

import pytest
import yaml

from testbed import shipped
from testbed.documents import read_document
from testbed.labs.lab import ANSWERS, LANGUAGES, Lab, labs
from testbed.scenario.load import load_scenario
from tests.labs.pages import blocks, commands, solution

ALL = labs()
each_lab = pytest.mark.parametrize("lab", ALL, ids=lambda lab: lab.name)


def test_there_are_eight_labs() -> None:
    assert [lab.number for lab in ALL] == list(range(1, 9))


@each_lab
def test_every_language_has_the_same_commands(lab: Lab) -> None:
    english = blocks(lab.page("en"))
    assert commands(lab.page("en"))
    for language in LANGUAGES:
        translated = blocks(lab.page(language))
        assert [(b.language, b.host, b.file) for b in translated] == [(b.language, b.host, b.file) for b in english]
        assert [b.text for b in translated if b.language == "sh"] == [b.text for b in english if b.language == "sh"]


@each_lab
def test_the_form_asks_for_what_the_solution_has(lab: Lab) -> None:
    form = read_document(lab.folder / "work" / ANSWERS).data
    keys = [line.partition(":")[0] for line in solution(lab.teacher)[ANSWERS].splitlines() if ":" in line]
    assert keys == list(form)
    assert form["host"] == "client1"
    assert not any(value for key, value in form.items() if key != "host")


@each_lab
def test_no_page_for_students_gives_an_answer_away(lab: Lab) -> None:
    for line in solution(lab.teacher)[ANSWERS].splitlines():
        key, _, value = line.partition(": ")
        if key == "host" or value.startswith("${") or len(value) < 3:
            continue
        for item in yaml.safe_load(value) if value.startswith("[") else [value.strip('"')]:
            for language in LANGUAGES:
                assert item not in lab.page(language).read_text(encoding="utf-8"), f"{key} in {language}"


@each_lab
def test_the_scenario_is_right_and_titled_as_the_page(lab: Lab) -> None:
    load_scenario(lab.scenario)
    assert lab.page("en").read_text(encoding="utf-8").startswith(f"# Lab {lab.number}: ")
    assert lab.title


def test_every_file_of_the_labs_is_installed() -> None:
    root = shipped.folder("labs").parent
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    installed = {
        path
        for target, patterns in config["options.data_files"].items()
        for pattern in patterns.split(",")
        for path in root.glob(pattern.strip())
        if target == f"share/turkmenistan-testbed/{path.parent.relative_to(root)}"
    }
    files = {path for path in (root / "labs").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert files <= installed
