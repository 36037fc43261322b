"""Recipes: how a circumvention tool is set up, started on both sides, and used by apps. Specifications only.

Every text in a recipe is a Jinja template; an unknown variable is an error with its line before anything starts.
`extends: NAME` takes everything from another recipe; a key given here replaces the whole of that key there.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import jinja2
import jinja2.meta
from pydantic import AfterValidator, Field

from testbed import shipped
from testbed.documents import Document, Strict, read_document, validate
from testbed.errors import InputError, Problem
from testbed.units import Duration


def _listening(value: str) -> str:
    if not re.fullmatch(r"(tcp|udp)/[0-9]{1,5}|(tcp|udp)/\{\{.+\}\}", value):
        raise ValueError(f"{value!r} is not a place to listen; write `tcp/1080` or `udp/51820`")
    return value


class Ready(Strict):
    """How it is seen that a program is ready: it listens, says something in its log, or a command succeeds."""

    listens: Annotated[str, AfterValidator(_listening)] | None = None
    """`tcp/1080` or `udp/51820`, in the program's node."""
    says: str | None = None
    """A regular expression that a line of its log matches."""
    succeeds: tuple[str, ...] | None = None
    """A command, run in its node until it ends with status 0."""
    within: Duration = 30.0


class Launch(Strict):
    """One program of a tool, on the server's or the client's side."""

    name: str
    argv: tuple[str, ...] = Field(min_length=1)
    env: Mapping[str, str] = {}
    ready: Ready = Ready()


class Needs(Strict):
    """What the machine must have."""

    programs: Mapping[str, str] = {}
    """Program → how to get it: `apt: openssh-server`, `go: example.org/tool@v1.2.3`, `pip: name==1.2`, or words."""
    features: tuple[str, ...] = ()
    """Names of `testbed doctor`: `TUN`, `WireGuard`."""


class Use(Strict):
    """How apps use the tool."""

    proxy: str | None = None
    """`socks5://127.0.0.1:1080` or `http://127.0.0.1:8080`; names are resolved at its far end."""
    wrapper: tuple[str, ...] = ()
    """Words put before a command."""
    whole_host: bool = False
    """A TUN device carries the whole host; apps need nothing."""


class Recipe(Strict):
    """A tool's recipe."""

    recipe: str
    title: str
    about: str = ""
    extends: str | None = None
    defeats: tuple[Literal["dns", "http", "sni", "address", "protocol", "entropy", "probing"], ...] = ()
    """What the tool claims to get past."""
    needs: Needs = Needs()
    options: Mapping[str, str | int] = {}
    """Variables of the templates with their defaults."""
    certificate: tuple[str, ...] = ()
    """Names of a server certificate by the run's authority: `{{ cert }}` and `{{ key }}`."""
    setup: tuple[tuple[str, ...], ...] = ()
    """Commands run once, before the files are written."""
    files: Mapping[str, str] = {}
    """Files of the tool's folder: name → template."""
    server: tuple[Launch, ...] = ()
    client: tuple[Launch, ...] = ()
    use: Use
    sources: tuple[str, ...] = ()


#: What a template may name besides the recipe's options
VARIABLES: Mapping[str, str] = {
    "work": "the tool's folder", "server": "the server's address", "client": "the client's address",
    "cert": "a certificate chain for the names of `certificate`", "key": "its key", "ca": "the run's authority",
    "secret": "secret(name, bytes=16): hex digits from the seed", "uuid": "uuid(name): a UUID from the seed",
    "base64": "base64(name, bytes=32): base64 from the seed", "python": "the interpreter of the testbed",
}  # fmt: skip


def load_recipe(reference: str | Path) -> Recipe:
    """Load a recipe by shipped name or path; `InputError` lists every problem, unknown variables included."""
    document = _merged(reference, ())
    recipe = validate(document, Recipe)
    problems = [*_template_problems(document, recipe), *_use_problems(document, recipe)]
    if problems:
        raise InputError(problems)
    return recipe


def _merged(reference: str | Path, seen: tuple[str, ...]) -> Document:
    path = shipped.find(reference, "recipes")
    if not path.exists() and path.parent == shipped.folder("recipes"):
        known = shipped.names("recipes")
        near = difflib.get_close_matches(str(reference), known, 1)
        mend = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
        raise InputError([Problem(str(reference), "no such recipe", mend)])
    document = read_document(path)
    base = document.data.get("extends")
    if base is None:
        return document
    if str(base) in seen:
        raise InputError([document.problem(("extends",), f"`{base}` extends itself", "break the circle")])
    parent = _merged(path.parent / base if str(base).endswith(".yaml") else base, (*seen, str(base)))
    options = {**parent.data.get("options", {}), **document.data.get("options", {})}
    return Document(document.path, {**parent.data, **document.data, "options": options}, document.lines)


def _use_problems(document: Document, recipe: Recipe) -> list[Problem]:
    use = recipe.use
    ways = [
        name
        for name, given in (("proxy", use.proxy), ("wrapper", use.wrapper), ("whole_host", use.whole_host))
        if given
    ]
    if len(ways) > 1:
        return [document.problem(("use",), f"apps can't use it in {len(ways)} ways at once", "keep one of them")]
    return []


ENVIRONMENT = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)


def _texts(value: Any, place: tuple[str | int, ...]) -> list[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        return [(place, value)]
    if isinstance(value, Mapping):
        return [found for key, item in value.items() for found in _texts(item, (*place, key))]
    if isinstance(value, (list, tuple)):
        return [found for index, item in enumerate(value) for found in _texts(item, (*place, index))]
    return []


def _template_problems(document: Document, recipe: Recipe) -> list[Problem]:
    known = {*VARIABLES, *recipe.options}
    found: list[Problem] = []
    for key in ("setup", "files", "server", "client", "use"):
        for place, text in _texts(document.data.get(key), (key,)):
            try:
                names = jinja2.meta.find_undeclared_variables(ENVIRONMENT.parse(text))
            except jinja2.TemplateSyntaxError as error:
                found.append(document.problem(place, f"not a template: {error.message}", "mend its braces"))
                continue
            for name in sorted(names - known):
                near = difflib.get_close_matches(name, sorted(known), 1)
                mend = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(known))}"
                found.append(document.problem(place, f"unknown variable `{name}`", mend))
    if ("{{ cert" in str(document.data)) and not recipe.certificate:
        mend = "add `certificate: [name.example]`"
        found.append(document.problem(("files",), "`cert` needs the names of a certificate", mend))
    return found
