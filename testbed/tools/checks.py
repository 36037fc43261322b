"""What a recipe's form can't say: variables that exist, programs that are named as needed, one way of use. Pure."""

from __future__ import annotations

import contextlib
import difflib
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import jinja2
import jinja2.meta

from testbed.documents import Document
from testbed.errors import Problem
from testbed.net.probes import PROBES
from testbed.tools.recipe import ENVIRONMENT, VARIABLES, Launch, Recipe
from testbed.tools.render import Place as Sample
from testbed.tools.render import filled, variables

#: programs that every machine with the testbed has
COMMON = frozenset(
    {"sh", "ip", "iptables", "sysctl", "env", "unshare", "ping", "curl", "openssl", "kdig", "{{ python }}"}
)
_FORMS = (("use", "proxy"), ("use", "dns"))
_TEMPLATED = ("setup", "files", "server", "client", "use")
_SAMPLE = Sample("/work", "198.18.0.30", "100.64.1.1", "/cert.pem", "/key.pem", "/ca.pem", "python3", 1)
Place = tuple[str | int, ...]


def problems_of(document: Document, recipe: Recipe) -> list[Problem]:
    """Return everything that is wrong with a recipe of the right form."""
    return [
        *(_variables(document, recipe) or _fillings(document, recipe)),
        *_ways_of_use(document, recipe),
        *_programs(document, recipe),
        *_names(document, recipe),
        *_features(document, recipe),
    ]


def _texts(value: Any, place: Place) -> list[tuple[Place, str]]:
    if isinstance(value, str):
        return [(place, value)]
    if isinstance(value, Mapping):
        return [found for key, item in value.items() for found in _texts(item, (*place, key))]
    if isinstance(value, (list, tuple)):
        return [found for index, item in enumerate(value) for found in _texts(item, (*place, index))]
    return []


def _variables(document: Document, recipe: Recipe) -> list[Problem]:
    found: list[Problem] = []
    used: set[str] = set()
    for key in _TEMPLATED:
        known = {*VARIABLES, *recipe.options} - (set() if key == "use" else {"url"})
        for place, text in _texts(document.data.get(key), (key,)):
            try:
                names = jinja2.meta.find_undeclared_variables(ENVIRONMENT.parse(text))
            except jinja2.TemplateSyntaxError as error:
                found.append(document.problem(place, f"not a template: {error.message}", "mend its braces"))
                continue
            used |= names
            found += [
                document.problem(place, f"unknown variable `{name}`", _near(name, known))
                for name in sorted(names - known)
            ]
    if (used & {"cert", "key"}) - recipe.options.keys() and not recipe.certificate:
        mend = "add `certificate: [name.example]`"
        found.append(document.problem(("files",), "`cert` needs the names of a certificate", mend))
    for name in recipe.options:
        if name in VARIABLES:
            found.append(document.problem(("options", name), f"the option `{name}` hides a variable", "rename it"))
    return found


def _fillings(document: Document, recipe: Recipe) -> list[Problem]:
    """Fill every template in once: what fails with the words of no run would fail in the middle of one."""
    known = {**variables(_SAMPLE), **recipe.options}
    found: list[Problem] = []
    for key in _TEMPLATED:
        for place, text in _texts(document.data.get(key), (key,)):
            try:
                word = filled(text, known) if "{" in text else text
                if place[-2:] in _FORMS or place[-1] == "listens":
                    found += _form(document, place, word)
            except ValueError as error:
                used = jinja2.meta.find_undeclared_variables(ENVIRONMENT.parse(text))
                calls = [VARIABLES[name] for name in sorted(used & VARIABLES.keys()) if "(" in VARIABLES[name]]
                mend = f"write {'; '.join(calls)}" if calls else "mend the template"
                found.append(document.problem(place, f"can't be filled in: {error}", mend))
    return found


def _form(document: Document, place: Place, word: str) -> list[Problem]:
    """Look at what must have a form once it is filled in."""
    if place[-1] == "proxy":
        url = urlsplit(word)
        with contextlib.suppress(ValueError):
            if url.hostname and url.port:
                return []
        return [document.problem(place, f"`{word}` says no port", "write `socks5://127.0.0.1:1080`, host and port")]
    if place[-1] == "dns":
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(word)
            return []
        return [document.problem(place, f"`{word}` is no IP address", "write one, as `127.0.0.1`")]
    if (port := re.fullmatch(r"(?:tcp|udp)/([0-9]{1,5})", word)) and 0 < int(port[1]) < 65536:
        return []
    return [document.problem(place, f"{word!r} is not a place to listen", "write `tcp/1080` or `udp/51820`")]


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(known))}"


def _ways_of_use(document: Document, recipe: Recipe) -> list[Problem]:
    use = recipe.use
    # a VPN brings its resolver along; a resolver alone is a way of its own
    own = ("proxy", "wrapper", "command", *(["dns"] if not use.whole_host else []), "whole_host")
    ways = [name for name in own if getattr(use, name)]
    if len(ways) > 1:
        mend = f"keep one of {', '.join(f'`{way}`' for way in ways)}"
        return [document.problem(("use",), f"apps can't use it in {len(ways)} ways at once", mend)]
    if use.command and not any(re.search(r"\{\{\s*url\b", word) for word in use.command):
        return [document.problem(("use", "command"), "the command fetches nothing", "put `{{ url }}` into it")]
    if use.proxy and not re.match(r"(socks5|http)://", use.proxy):
        mend = "write `socks5://127.0.0.1:1080` or `http://127.0.0.1:8080`"
        return [document.problem(("use", "proxy"), f"`{use.proxy}` is no proxy that apps know", mend)]
    return []


def _programs(document: Document, recipe: Recipe) -> list[Problem]:
    """A program that is started but not named as needed would be found missing only in the middle of a run."""
    starts: list[tuple[Place, Sequence[str]]] = [(("setup", index, 0), argv) for index, argv in enumerate(recipe.setup)]
    for side, launches in (("server", recipe.server), ("client", recipe.client)):
        starts += [((side, index, "argv", 0), launch.argv) for index, launch in enumerate(launches)]
    starts += [(("use", "wrapper", 0), recipe.use.wrapper), (("use", "command", 0), recipe.use.command)]
    known = {*COMMON, *recipe.needs.programs}
    return [
        document.problem(
            place,
            f"the program `{argv[0]}` is not among those it needs",
            f"add it to `needs: programs: {{{argv[0]}: …}}`",
        )
        for place, argv in starts
        if argv and argv[0] not in known and "{{" not in argv[0]
    ]


def _features(document: Document, recipe: Recipe) -> list[Problem]:
    known = [probe.name for probe in PROBES]
    return [
        document.problem(("needs", "features", index), f"no feature `{name}`", _near(name, known))
        for index, name in enumerate(recipe.needs.features)
        if name not in known
    ]


def _names(document: Document, recipe: Recipe) -> list[Problem]:
    seen: set[str] = set()
    found: list[Problem] = []
    for side, launches in (("server", recipe.server), ("client", recipe.client)):
        for index, launch in enumerate(launches):
            if launch.name in seen:
                mend = "give each program its own: its log has that name"
                found.append(document.problem((side, index, "name"), f"two programs are named `{launch.name}`", mend))
            seen.add(launch.name)
            found += _readiness(document, (side, index), launch)
    return found


def _readiness(document: Document, place: Place, launch: Launch) -> list[Problem]:
    if launch.once and (launch.ready.listens or launch.ready.says):
        return [
            document.problem((*place, "ready"), "a program that ends can't be listened to", "drop `once` or `ready`")
        ]
    return []
