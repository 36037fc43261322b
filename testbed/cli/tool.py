"""`testbed tool`: does a circumvention tool get through, how fast, and what stopped it? And getting the tools."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from click.shell_completion import CompletionItem

from testbed import shipped
from testbed.cli import live
from testbed.cli.words import LINK, RECIPE, Word
from testbed.dpi.policy import load_policy, refuse_program
from testbed.errors import InputError, Problem, UnfaithfulError
from testbed.link.load import load_link
from testbed.report import junit, markdown
from testbed.report import tools as report
from testbed.run.controls import fit
from testbed.run.tool_result import nothing_of, nothing_under, read_result
from testbed.tools import install, judge
from testbed.tools.recipe import Recipe, load_recipe
from testbed.tools.render import wrong_options
from testbed.tools.runner import missing
from testbed.units import parse_duration

_DEFAULT_POLICIES = ("tm-2022", "tm-2023-08")


class _Tool(click.Group):
    """`testbed tool RECIPE …` tests; `install` is the one word that can't be a recipe's name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let options stand before the recipe, too."""
        if args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
            args = ["test", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["test", *args]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the recipes beside the verbs."""
        test = self.commands["test"]
        return RECIPE.shell_complete(ctx, test.params[0], incomplete) + super().shell_complete(ctx, incomplete)


@click.group("tool", cls=_Tool, short_help="Test circumvention tools against policies.", subcommand_metavar="RECIPE …")
def command() -> None:
    """Test a circumvention tool: `testbed tool RECIPE --policy P`; get one: `testbed tool install NAME`.

    All options of a test: `testbed tool test --help`.

    \b
    testbed tool ssh --policy tm-2022
    testbed tool ./mytool.yaml --policy tm-2022 --policy tm-2023-08 --result baseline.json
    testbed tool ./mytool.yaml --baseline baseline.json
    """


@command.command("test")
@click.argument("recipes", type=RECIPE, nargs=-1, required=True, metavar="RECIPE…")
@click.option("--policy", "policies", type=Word("policies", words=("all",)), multiple=True, metavar="P",
              help="May stand several times, or `all`.")  # fmt: skip
@click.option("--connections", default=5, show_default=True, type=click.IntRange(1, 1000), metavar="N",
              help="How many connections are tried, one after another.")  # fmt: skip
@click.option("--link", type=LINK, metavar="L",
              help="A link's name or file; `none` for unshaped (default: national-2021).")  # fmt: skip
@click.option(
    "--soak", default="9 s", show_default=True, metavar="T", help="How long it is used while the policy changes."
)
@click.option("--timeout", default="10 s", show_default=True, metavar="T", help="Of each connection.")
@click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help="An option of the recipe.")
@click.option("--strategy", metavar="S", help="The same as `--set strategy=S`, for the recipe `geneva`.")
@click.option("--control", metavar="URL", help="A site that the policies block (default: found by trying).")
@click.option(
    "--baseline", type=click.Path(path_type=Path), help="An earlier --json output: fail only where it got worse."
)
@click.option("--seed", type=int, default=1, show_default=True, help="What all chances are drawn from.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep each run directory (logs, events) below it.")
@click.option("--capture/--no-capture", default=True, show_default=True, help="With --keep: keep pcapng files, too.")
@click.option("--junit", "to_junit", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the result as JUnit XML, too.")  # fmt: skip
@click.option("--summary", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Append the result as Markdown, for the summary page of a CI job.")  # fmt: skip
@click.option("--result", "to_json", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the result as JSON, too: the next time's baseline.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def test(
    recipes: tuple[str, ...], policies: tuple[str, ...], connections: int, link: str | None, soak: str, timeout: str,
    options: tuple[str, ...], strategy: str | None, control: str | None, baseline: Path | None, seed: int,
    keep: Path | None, capture: bool, to_junit: Path | None, summary: Path | None, to_json: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Test each RECIPE under no censor and under each policy.

    Exit status: 0 it gets through everywhere, or is no worse than the baseline; 1 it doesn't, or is; 3 it is not
    installed, or the test proves nothing.
    """
    given = dict(_option(text) for text in (*options, *([f"strategy={strategy}"] if strategy else [])))
    loaded = [load_recipe(recipe) for recipe in recipes]  # all of them, before an hour is spent on the first
    for recipe in loaded:
        _check(recipe, given, control)
    load_link(link or "none")
    labels = _policies(policies)
    job = {
        "verb": "tool", "policies": list(labels), "labels": labels, "connections": connections, "link": link,
        "seed": seed, "soak_s": _seconds("--soak", soak), "timeout_s": _seconds("--timeout", timeout, least=0.1),
        "options": given, "control": control, "capture": keep is not None and capture, "scenario": None,
        "cwd": str(Path.cwd()),
    }  # fmt: skip
    before = _baseline(baseline)
    for path in (to_junit, summary, to_json):
        _check_place(path)
    found = [_tested(recipe, name, job, keep) for recipe, name in zip(loaded, recipes, strict=True)]
    for item in found:
        earlier = before.get(item["recipe"])
        item["regressions"] = None if earlier is None else judge.regressions(earlier, item)
        item["not_compared"] = [] if baseline is None else judge.not_compared(earlier, item)
    status = max(_status(item) for item in found)
    text = json.dumps({"tools": found, "status": status}, indent=1, sort_keys=True)
    _write(to_junit, junit.render_tools(found))
    _write(summary, markdown.of_tools(found) + "\n", more=True)
    _write(to_json, text + "\n")
    print(text if as_json else report.as_text(found))
    return status


def _check(recipe: Recipe, options: dict[str, str], control: str | None) -> None:
    """Refuse options that a recipe can't take, and a control that can't be asked for as it is used."""
    if wrong := wrong_options(recipe, options):
        raise InputError([Problem(f"--set {name}={options[name]}", *said) for name, said in wrong.items()])
    if control is None:
        return
    parts = urlsplit(control)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError([Problem(f"--control {control}", "not a page", "write it as `https://site.example/`")])
    if not fit(recipe.use, [control]):
        what = f"{recipe.recipe} fetches pages itself, by HTTPS"
        raise InputError([Problem(f"--control {control}", what, "give one that begins with https://")])


def _check_place(path: Path | None) -> None:
    """Find out before the test that its result can't be written there."""
    if path is not None and not (path.parent.is_dir() and os.access(path if path.exists() else path.parent, os.W_OK)):
        raise InputError([Problem(str(path), "can't be written", "give another place, in a folder that is there")])


def _write(path: Path | None, text: str, *, more: bool = False) -> None:
    if path is None:
        return
    try:
        with path.open("a" if more else "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise InputError([Problem(str(path), f"can't be written: {error.strerror}", "give another place")]) from None


def _option(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise InputError([Problem(f"--set {text}", "not an option and its value", "write `--set NAME=VALUE`")])
    return name, value


def _seconds(option: str, text: str, least: float = 0.0) -> float:
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise InputError([Problem(f"{option} {text}", *str(error).split("; ", 1))]) from None
    if found < least:
        raise InputError([Problem(f"{option} {text}", "too short", f"give {least:g} s or more")])
    return found


def _policies(given: tuple[str, ...]) -> dict[str, str]:
    """Return the policies and what results call them: a file by its own name, wherever it lies on this machine."""
    wanted = shipped.names("policies") if given == ("all",) else list(dict.fromkeys(given or _DEFAULT_POLICIES))
    for policy in wanted:
        refuse_program(load_policy(policy), "be switched in while packets flow")
    found: dict[str, str] = {}
    for policy in wanted:
        is_file = policy.endswith((".yaml", ".yml"))
        label = Path(policy).stem if is_file else policy
        if label in found.values() or (is_file and label in ("open", *wanted)):
            label = policy
        found[str(Path(policy).resolve()) if is_file else policy] = label
    return found


def _baseline(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    mend = "give what `testbed tool … --json` printed, or --result wrote"
    try:
        tools = json.loads(path.read_text(encoding="utf-8"))["tools"]
        earlier = {str(item["recipe"]): item for item in tools}
        for item in tools:
            judge.regressions(item, item)  # whether it can be compared with at all
    except OSError as error:
        raise InputError([Problem(str(path), f"can't be read: {error.strerror}", mend)]) from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise InputError([Problem(str(path), "not an earlier result", mend)]) from None
    return earlier


def _tested(recipe: Recipe, reference: str, job: dict[str, Any], keep: Path | None) -> dict[str, Any]:
    """Test one recipe; that its test broke off is its result, and the others are tested all the same."""
    nothing = nothing_of(recipe, job)
    if lacks := missing(recipe):
        return {**nothing, "skipped": "; ".join(lacks)}
    full = {**job, "recipe": reference}
    with live.scratch() if keep is None else contextlib.nullcontext(_fresh(keep / recipe.recipe)) as folder:
        try:
            status, why = live.play(full, folder), "see above"
        except UnfaithfulError as error:
            status, why = error.exit_status, str(error)
        if status in (2, 130):
            raise click.exceptions.Exit(status)
        if status:
            why = f"the test of {recipe.recipe} ended with status {status}: {why}"
            print(why, file=sys.stderr)
            return {**nothing, "broke_off": status, "policies": [{**nothing_under("open"), "why": [why]}]}
        return {**read_result(folder.resolve()), "run": str(folder) if keep is not None else None}


def _fresh(path: Path) -> Path:
    """Return a folder for a run, with a number behind its name if there is an earlier one."""
    names = (path.name if number == 1 else f"{path.name}-{number}" for number in range(1, 10_000))
    return next((found for name in names if not (found := path.with_name(name)).exists()), path)


def _status(item: dict[str, Any]) -> int:
    if item["skipped"] or item["broke_off"]:
        return int(item["broke_off"] or 3)
    if any(policy["verdict"] == "invalid" for policy in item["policies"]):
        return 3
    if item["regressions"] is not None:
        return 1 if item["regressions"] else 0
    return 0 if all(policy["verdict"] == "passes" for policy in item["policies"]) else 1


@command.command("install", short_help="Get the programs that recipes need.")
@click.argument("names", type=Word("recipes", files=False), nargs=-1, metavar="NAME…")
@click.option("--all", "everything", is_flag=True, help="All that recipes need.")
@click.option("--dry-run", is_flag=True, help="Only say which commands would be run.")
def install_command(names: tuple[str, ...], everything: bool, dry_run: bool) -> int:
    """Get what the recipes NAME… need: Debian packages by apt, pinned Go modules and Python packages.

    Debian packages need root; the rest goes into the testbed's own folder or its virtual environment.
    """
    if not names and not everything:
        raise click.UsageError("name the recipes, or give --all")
    recipes = [load_recipe(name) for name in (shipped.names("recipes") if everything else names)]
    return install.install(recipes, dry_run=dry_run)
