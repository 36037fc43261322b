"""Hooks of mkdocs: pages that are generated, or that stand elsewhere (labs), join the site when it is built."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from testbed import shipped
from testbed.documents import read_document
from testbed.labs.lab import LANGUAGES, Lab, labs
from testbed.manual import cli_page

_TONGUES = {"en": "English", "ru": "Русский", "fr": "Français"}
_ROOT = Path(__file__).parent.parent
_SHOWN = ("recipes", "policies")


def on_config(config: Any) -> Any:
    """Give pages that nobody put into the navigation a place: policies by their folder, all else is a how-to."""
    sections = {title: part for each in config.nav for title, part in each.items() if isinstance(part, list)}
    known = {path for each in config.nav for part in each.values()
             for path in ([part] if isinstance(part, str) else [uri for entry in part for uri in entry.values()])}  # fmt: skip
    for path in sorted(Path(config.docs_dir).rglob("*.md")):
        uri = path.relative_to(config.docs_dir).as_posix()
        if uri not in known:
            title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
            sections["Policies" if uri.startswith("policies/") else "How-to"].append({title: uri})
    return config


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that are made here."""
    made = {"reference-cli.md": cli_page(), "policies-shipped.md": _policies(), "labs/index.md": _labs()}
    for lab in labs():
        made |= {f"labs/{lab.folder.name}/{path.name}": path.read_text(encoding="utf-8") for path in _pages(lab)}
    made |= {f"{kind}/{path.name}": path.read_text(encoding="utf-8") for kind in _SHOWN
             for path in sorted((_ROOT / kind).glob("*.yaml"))}  # fmt: skip
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Let links to files that stand beside the pages in the repository lead to their copies in the site."""
    return re.sub(rf"\]\(\.\./({'|'.join(_SHOWN)})/", r"](\1/", markdown)


def on_post_page(output: str, *, page: Any, config: Any) -> str:
    """Say in which language a lab's page is, so that it is read out in it and not in English."""
    language = page.file.src_uri.removesuffix(".md").rpartition(".")[2]
    return output.replace('<html lang="en"', f'<html lang="{language}"', 1) if language in LANGUAGES else output


def _pages(lab: Lab) -> list[Path]:
    return [lab.page(language) for language in LANGUAGES] + [lab.teacher]


def _labs() -> str:
    lines = ["# Labs", "", "Eight labs of 40 to 60 minutes. `testbed lab start N` sets one up; "
             "[Teach a class](../tutorial-teach-a-class.md) says how.", "", "| | lab | pages | |", "|---|---|---|---|"]  # fmt: skip
    for lab in labs():
        where = lab.folder.name
        pages = " · ".join(f"[{_TONGUES[each]}]({where}/{lab.page(each).name})" for each in LANGUAGES)
        lines.append(f"| {lab.number} | {lab.title} | {pages} | [for the teacher]({where}/teacher.md) |")
    return "\n".join(lines) + "\n"


def _policies() -> str:
    """Return every shipped policy with each rule's evidence."""
    lines = ["# Shipped policies and their evidence", "",
             "Marks: M measured, R reported, I inferred, U unknown (a knob), D second-hand, G general.", ""]  # fmt: skip
    for name in shipped.names("policies"):
        data = read_document(shipped.find(name, "policies")).data
        lines += [f"## {name}", "", f"**{data.get('title', '')}** {_cell(data.get('about', ''))}", ""]
        if base := data.get("extends"):
            lines += [f"Extends [{base}](#{base}).", ""]
        if rules := data.get("rules"):
            lines += ["| rule | mark | source | note |", "|---|---|---|---|"]
            for rule in rules:
                evidence = rule.get("evidence", {})
                cells = (rule.get("name"), evidence.get("mark"), evidence.get("source"), evidence.get("note", ""))
                lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
            lines.append("")
    return "\n".join(lines)


def _cell(value: object) -> str:
    return " ".join(str(value or "").split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
