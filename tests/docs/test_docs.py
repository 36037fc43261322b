"""The documentation: the site builds without a warning, its files are right, its commands are ones that exist."""

from __future__ import annotations

import html
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from testbed.cli.check import problems_of
from testbed.cli.main import cli
from testbed.labs.lab import labs
from testbed.manual import cli_page, entries, man_pages

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(lab.page("en") for lab in labs())])
_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_KIND = re.compile(r"^(scenario|policy|link|recipe|matrix): \S", re.MULTILINE)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")


def blocks(page: Path, *languages: str) -> Iterator[tuple[str, str]]:
    """Yield a page's blocks of some languages: the language and the text."""
    for margin, language, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield language, re.sub(f"^{margin}", "", text, flags=re.MULTILINE)


def _commands(page: Path) -> Iterator[list[str]]:
    """Yield the `testbed` commands of a page: whole lines of its blocks, up to a pipe or a redirection."""
    for _, text in blocks(page, "sh", "console", ""):
        for line in text.replace("\\\n", " ").splitlines():
            bare = re.split(r" (?:\||>|&&|#)", line.removeprefix("$ ").removeprefix(".venv/bin/"))[0]
            if bare.startswith("testbed ") and "…" not in bare:
                yield shlex.split(bare)[1:]


def dead_links(site: Path) -> Iterator[str]:
    """Yield what a built site's pages link to and lack: files, and places in pages."""
    texts = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html") if path.name != "404.html"}
    for page, text in texts.items():
        for link in set(re.findall(r'(?:href|src)="([^"]+)"', text)):
            target, _, place = unquote(html.unescape(link)).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            path = Path(os.path.normpath(page.parent / target)) if target else page
            path = path / "index.html" if path.is_dir() else path
            there = path.exists() and (not place or path not in texts or f'id="{place}"' in texts[path])
            if not there and place != "__toc":
                yield f"{page.relative_to(site)}: {link}"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "reference-cli.html").read_text().count("<h2") >= len(list(entries()))
    pages = [*tmp_path.glob("*.html"), *tmp_path.glob("labs/*/*.html")]
    outside = re.compile(r'(?:src|rel="stylesheet" href)="https?://')
    assert not [page.name for page in pages if outside.search(page.read_text())], "fetched from elsewhere"
    assert list(dead_links(tmp_path)) == []
    assert (tmp_path / "search" / "search_index.js").exists(), "the search of a site that is opened from the disk"
    for language, name in (("en", "student"), ("ru", "student.ru"), ("fr", "student.fr"), ("en", "teacher")):
        page = (tmp_path / "labs" / "1-slow-country" / f"{name}.html").read_text()
        assert f'<html lang="{language}"' in page, "what a screen reader goes by"


def test_every_option_has_its_meaning_and_every_example_its_margin() -> None:
    said = {f"{entry.words} {option}": meaning for entry in entries() for option, meaning in entry.options}
    assert [option for option, meaning in said.items() if not meaning.partition("[")[0].strip()] == []
    examples = re.findall(r"```text\n(.*?)\n```", cli_page(), re.DOTALL)
    assert [text for text in examples if text.startswith(" ")] == []


@each_page
def test_every_file_in_a_page_is_right(page: Path, tmp_path: Path) -> None:
    for number, text in enumerate(text for _, text in blocks(page, "yaml")):
        if _KIND.match(text):
            for _, other in blocks(page, "yaml"):  # a page's files may extend each other
                if found := re.match(r"policy: (\S+)", other):
                    (tmp_path / f"{found[1]}.yaml").write_text(other)
            file = tmp_path / f"block-{number}.yaml"
            file.write_text(text)
            assert problems_of(file) == [], text


@each_page
def test_every_command_in_a_page_can_be_called(page: Path) -> None:
    for argv in _commands(page):
        command: click.Command = cli
        context = click.Context(cli, info_name="testbed")
        rest = list(argv)
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            name, child, rest = command.resolve_command(context, rest)
            assert child is not None, argv
            command = child
            context = command.make_context(str(name), rest if not isinstance(child, click.Group) else [], context,
                                           resilient_parsing=isinstance(child, click.Group))  # fmt: skip
        assert command is not cli


def test_every_make_target_in_a_page_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for _, text in blocks(page, "sh", "console"):
            assert set(re.findall(r"^(?:\$ )?make ([a-z-]+)", text, re.MULTILINE)) <= targets


def test_every_verb_has_a_man_page_with_its_options() -> None:
    pages = man_pages()
    assert {"testbed.1", "testbed-run.1", "testbed-policy-explain.1", "testbed-lab-start.1"} <= set(pages)
    for entry in entries():
        page = pages[f"{entry.words.replace(' ', '-')}.1"]
        assert page.startswith(".TH ")
        assert page.count("\n.TP\n") == len(entry.options)
        assert page.isascii()  # groff reads nothing else without being told
        assert not re.search(r"^['.](?!TH|SH|B |PP|TP|nf|fi)", page, re.MULTILINE), "a line roff would take for a macro"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_the_verbs(shell: str) -> None:
    script = subprocess.run([sys.executable, "-m", "testbed.cli.main", "completion", shell],
                            capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert "_TESTBED_COMPLETE" in script
    assert "policy" in completed(shell, "po")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("run imo", "imo-goes-dark"), ("exec --policy tm-2", "tm-2022"), ("tool sho", None), ("tool ssh", "sshuttle"),
        ("tool ins", "install"), ("tool ssh --policy a", "all"), ("tool install ssh", "sshuttle"),
        ("shell imo-goes-dark --link n", "none"), ("matrix ", "file"), ("check ", "file"), ("report ", "file"),
    ],
)  # fmt: skip
def test_tab_offers_what_ships_and_files(words: str, wanted: str | None) -> None:
    offered = {part for line in completed("bash", words).splitlines() for part in line.split(",")}
    assert wanted in offered if wanted else "plain" not in offered


def completed(shell: str, words: str) -> str:
    """What a shell is told when Tab is pressed behind some words."""
    last = words.split(" ")[-1]
    asked = subprocess.run(
        [str(Path(sys.executable).parent / "testbed")], capture_output=True, text=True, check=True,
        env={
            "COMP_WORDS": f"testbed {words}", "COMP_CWORD": last if shell == "fish" else str(len(words.split(" "))),
            "_TESTBED_COMPLETE": f"{shell}_complete", "PATH": "/usr/bin:/bin",
        },
    )  # fmt: skip
    return asked.stdout
