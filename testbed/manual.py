"""The command line's own description as a reference page and as man pages, generated from click (`make man`)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from testbed import __version__
from testbed.cli.main import cli


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: its words, how it is called, what it does, its options as (names, meaning)."""

    words: str
    usage: str
    about: str
    options: tuple[tuple[str, str], ...]


def entries() -> Iterator[Entry]:
    """Yield the command itself and every verb below it, in their order."""
    yield from _below(cli, click.Context(cli, info_name="testbed"))


def _below(command: click.Command, context: click.Context) -> Iterator[Entry]:
    options = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record is not None and "--help" not in parameter.opts:
            options.append(record)
    pieces = " ".join(command.collect_usage_pieces(context))
    about = (command.help or "").replace("\b\n", "\b").strip()
    yield Entry(context.command_path, f"{context.command_path} {pieces}", about, tuple(options))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from _below(child, click.Context(child, info_name=name, parent=context))


def _paragraphs(about: str) -> Iterator[tuple[bool, str]]:
    """Yield a help text's paragraphs; True for those that keep their lines (click's `\\b`)."""
    for part in about.split("\n\n"):
        lines = [line.strip() for line in part.strip().splitlines()]
        if part.strip().startswith("\b"):
            yield True, "\n".join(lines).lstrip("\b").lstrip()
        elif lines:
            yield False, " ".join(lines)


def cli_page() -> str:
    """Return the reference of the command line as Markdown."""
    lines = [
        "# Reference: the command line",
        "",
        "Generated from the commands themselves. Every verb takes `--help`.",
        "",
    ]
    for entry in entries():
        lines += [f"## {entry.words}", "", "```text", entry.usage, "```", ""]
        for kept, text in _paragraphs(entry.about):
            lines += ["```text", text, "```", ""] if kept else [text.replace("<", "&lt;"), ""]
        if entry.options:
            lines += ["| option | meaning |", "|---|---|"]
            lines += [f"| `{_cell(names)}` | {_cell(meaning)} |" for names, meaning in entry.options]
            lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def man_pages() -> dict[str, str]:
    """Return the man pages: file name → roff."""
    every = list(entries())
    names = {entry.words: f"{entry.words.replace(' ', '-')}" for entry in every}
    return {f"{names[entry.words]}.1": _man(entry, names[entry.words], sorted(names.values())) for entry in every}


def _man(entry: Entry, name: str, others: list[str]) -> str:
    first = next((text for _, text in _paragraphs(entry.about)), "")
    lines = [f'.TH {name.upper()} 1 "" "testbed {__version__}" "testbed"', ".SH NAME", f"{name} \\- {_roff(first)}"]
    lines += [".SH SYNOPSIS", f".B {_roff(entry.usage)}", ".SH DESCRIPTION"]
    for kept, text in _paragraphs(entry.about):
        lines += [".nf", *(_roff(line) for line in text.splitlines()), ".fi"] if kept else [".PP", _roff(text)]
    if entry.options:
        lines.append(".SH OPTIONS")
        for option, meaning in entry.options:
            lines += [".TP", f"\\fB{_roff(option)}\\fR", _roff(" ".join(meaning.split())) or "\\&"]
    lines += [".SH EXIT STATUS", "0 expectations hold, 1 one failed, 2 bad input, 3 this machine lacks something",
              "or the run was not faithful, 4 a bug of ours.", ".SH SEE ALSO",
              ", ".join(f"{_roff(other)}(1)" for other in others if other != name)]  # fmt: skip
    return "\n".join(lines) + "\n"


def _roff(text: str) -> str:
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    found = "".join(each if each.isascii() else f"\\[u{ord(each):04X}]" for each in plain)
    return f"\\&{found}" if found.startswith((".", "'")) else found


def write_man_pages(folder: Path) -> list[Path]:
    """Write the man pages below a folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in man_pages().items():
        (folder / name).write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written


if __name__ == "__main__":
    print(f"{len(write_man_pages(Path(sys.argv[1])))} man pages in {sys.argv[1]}")
