"""Recipes: how a circumvention tool is set up, started on both sides, and used by apps. Specifications only.

Every text in a recipe is a Jinja template; an unknown variable is an error with its line before anything starts.
`extends: NAME` takes everything from another recipe; a key given here replaces the whole of that key there.
"""

from __future__ import annotations

import base64
import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import jinja2
from pydantic import AfterValidator, Field

from testbed import shipped
from testbed.documents import Document, Strict, read_document, validate
from testbed.errors import InputError, Problem
from testbed.units import Duration


def _listening(value: str) -> str:
    port = re.fullmatch(r"(?:tcp|udp)/(?:([0-9]{1,5})|\{\{.+\}\})", value)
    if port is None or not 0 < int(port[1] or 1) < 65536:
        raise ValueError(f"{value!r} is not a place to listen; write `tcp/1080` or `udp/51820`")
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}; mend it") from None
    return value


def _file_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", value) or value in (".", ".."):
        raise ValueError(f"{value!r} is not a file of the tool's folder; write a name without a slash")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"(?![.\- ])[^/\\\x00-\x1f\x7f'\"`$]{1,64}", value):
        raise ValueError(f"{value!r} can't be a name; use letters, digits, `-`, `_` and `.`, 1 to 64 of them")
    return value


def _remedy(value: str) -> str:
    kind, _, rest = value.partition(": ")
    if kind == "go" and not re.fullmatch(r"[\w./~-]+@v[\w.+-]+( tags [\w,]+)?", rest):
        raise ValueError("no pinned Go module; write `go: example.org/tool@v1.2.3` or `… tags with_quic`")
    if kind == "pip" and not re.fullmatch(r"[A-Za-z0-9_.-]+(\[[a-z,]+\])?==[\w.]+", rest):
        raise ValueError("no pinned package; write `pip: name==1.2`")
    if kind == "apt" and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", rest):
        raise ValueError("no Debian package; write `apt: name`")
    if kind == "cargo" and not re.fullmatch(r"[A-Za-z0-9_-]+@[\w.+-]+", rest):
        raise ValueError("no pinned crate; write `cargo: name@1.2.3`")
    if kind not in ("go", "pip", "apt", "cargo") and " " not in value:
        raise ValueError("no way to get it; write `apt: …`, `pip: …`, `go: …`, `cargo: …`, or say it in words")
    return value


def _place(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"{value!r} is no file of the machine; write its whole path, from `/` on")
    return value


def _packaged(value: str) -> str:
    if value.partition(": ")[0] in ("go", "pip", "cargo"):
        raise ValueError("only a package of the system brings a file; write `apt: name`, or say it in words")
    return _remedy(value)


Command = Annotated[tuple[str, ...], Field(min_length=1)]


class Ready(Strict):
    """How it is seen that a program is ready: it listens, says something in its log, or a command succeeds.

    All that are given must hold; without any the program is ready once it runs.
    """

    listens: Annotated[str, AfterValidator(_listening)] | None = None
    """`tcp/1080` or `udp/51820`, in the program's node."""
    says: Annotated[str, AfterValidator(_pattern)] | None = None
    """A regular expression that a line of its log matches."""
    succeeds: Command | None = None
    """A command, run in its node until it ends with status 0."""
    within: Duration = 30.0


class Launch(Strict):
    """One program of a tool, on the server's or the client's side."""

    name: Annotated[str, AfterValidator(_file_name)]
    argv: Command
    env: Mapping[str, str] = {}
    ready: Ready = Ready()
    once: bool = False
    """It does its work and ends with status 0 (`ip addr add …`); without this an early end is a failure."""


class Needs(Strict):
    """What the machine must have."""

    programs: Mapping[str, Annotated[str, AfterValidator(_remedy)]] = {}
    """Program → how to get it: `apt: openssh-server`, `go: example.org/tool@v1.2.3`, `pip: name==1.2`,
    `cargo: name@1.2.3`, or words."""
    files: Mapping[Annotated[str, AfterValidator(_place)], Annotated[str, AfterValidator(_packaged)]] = {}
    """File that a program reads → how to get it: a plugin in a package of its own, `apt: libcharon-extra-plugins`."""
    features: tuple[str, ...] = ()
    """Names of `testbed doctor`: `TUN`, `WireGuard`."""


class Use(Strict):
    """How apps use the tool; nothing at all: as if it were not there (a control)."""

    proxy: str | None = None
    """`socks5://127.0.0.1:1080` or `http://127.0.0.1:8080`; names are resolved at its far end."""
    wrapper: tuple[str, ...] = ()
    """Words put before a command."""
    command: tuple[str, ...] = ()
    """The tool is a client itself: a command that fetches `{{ url }}` and ends with status 0 if it could."""
    dns: str | None = None
    """The address of a resolver that the whole host is pointed to; a VPN may bring one along."""
    whole_host: bool = False
    """A TUN device or a packet filter serves the whole host; apps need nothing."""
    carries: Literal["web", "tcp", "http", "names"] = "web"
    """`tcp`: no datagrams, though it serves the whole host. `http`: only pages without TLS. `names`: it only resolves
    names; a site that is blocked by more than its name stays blocked."""


class Recipe(Strict):
    """A tool's recipe."""

    recipe: Annotated[str, AfterValidator(_name)]
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
    setup: tuple[Command, ...] = ()
    """Commands run once, before the files are written."""
    files: Mapping[Annotated[str, AfterValidator(_file_name)], str] = {}
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
    "x25519": "x25519(name): a key pair from the seed, `.private` and `.public` in base64, `|urlsafe` for REALITY",
    "site": "the address of the world's web server", "url": "the page to fetch (only in `use`)",
}  # fmt: skip


def _text(value: object) -> object:
    """Let a template give text and numbers only: of a function, as of `secret`, its call is meant."""
    if not isinstance(value, (str, int, float, jinja2.Undefined)):
        what = "a function" if callable(value) else f"a {type(value).__name__}"
        raise jinja2.TemplateRuntimeError(f"it gives {what} and no text")
    return value


ENVIRONMENT = jinja2.Environment(
    undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_text
)
ENVIRONMENT.filters["urlsafe"] = lambda text: text.replace("+", "-").replace("/", "_").rstrip("=")
ENVIRONMENT.filters["b64"] = lambda text: base64.b64encode(text.encode()).decode()


def load_recipe(reference: str | Path) -> Recipe:
    """Load a recipe by shipped name or path; `InputError` lists every problem, unknown variables included."""
    from testbed.tools.checks import problems_of

    document = _merged(reference, ())
    recipe = validate(document, Recipe)
    problems = problems_of(document, recipe)
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
    if not isinstance(base, str):
        return document
    if base in seen:
        raise InputError([document.problem(("extends",), f"`{base}` extends itself", "break the circle")])
    try:
        parent = _merged(path.parent / base if base.endswith(".yaml") else base, (*seen, base))
    except InputError as error:
        if any(":" in problem.place and problem.what != "no such file" for problem in error.problems):
            raise  # in its own file
        raise InputError(
            [document.problem(("extends",), f"`{base}`: {p.what}", p.mend) for p in error.problems]
        ) from None
    merged = document.over(parent)
    both = [found.data.get("options", {}) for found in (parent, document)]
    if all(isinstance(options, dict) for options in both):
        merged.data["options"] = {**both[0], **both[1]}
    return merged
