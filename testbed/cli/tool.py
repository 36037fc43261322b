"""`testbed tool`: does a circumvention tool get through, how fast, and what stopped it? And getting the tools."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from testbed import shipped
from testbed.cli import live
from testbed.dpi.policy import load_policy, refuse_program
from testbed.errors import InputError, Problem, TestbedError
from testbed.report import junit, markdown
from testbed.report import tools as report
from testbed.run.trial import read_result
from testbed.tools import install, judge
from testbed.tools.recipe import load_recipe
from testbed.tools.runner import missing
from testbed.units import parse_duration

_DEFAULT_POLICIES = ("tm-2022", "tm-2023-08")


class _Tool(click.Group):
    """`testbed tool RECIPE …` tests; `install` is the one word that can't be a recipe's name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["test", *args]
        return super().resolve_command(ctx, args)


@click.group("tool", cls=_Tool, short_help="Test circumvention tools against policies.", subcommand_metavar="RECIPE …")
def command() -> None:
    """Test a circumvention tool: `testbed tool RECIPE --policy P`; get one: `testbed tool install NAME`.

    \b
    testbed tool ssh --policy tm-2022
    testbed tool ./mytool.yaml --policy tm-2022 --policy tm-2023-08 --json > baseline.json
    testbed tool ./mytool.yaml --baseline baseline.json
    """


@command.command("test")
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE…")
@click.option("--policy", "policies", multiple=True, metavar="P", help="May stand several times, or `all`.")
@click.option("--connections", default=5, show_default=True, type=click.IntRange(1, 1000), metavar="N",
              help="How many connections are tried, one after another.")  # fmt: skip
@click.option("--link", metavar="L", help="A link's name or file; `none` for unshaped (default: national-2021).")
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
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def test(
    recipes: tuple[str, ...], policies: tuple[str, ...], connections: int, link: str | None, soak: str, timeout: str,
    options: tuple[str, ...], strategy: str | None, control: str | None, baseline: Path | None, seed: int,
    keep: Path | None, capture: bool, to_junit: Path | None, summary: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Test each RECIPE under no censor and under each policy.

    Exit status: 0 it gets through everywhere, or is no worse than the baseline; 1 it doesn't, or is; 3 it is not
    installed, or the test proves nothing.
    """
    given = dict(_option(text) for text in (*options, *([f"strategy={strategy}"] if strategy else [])))
    job = {
        "verb": "tool", "policies": _policies(policies), "connections": connections, "link": link, "seed": seed,
        "soak_s": _seconds("--soak", soak), "timeout_s": _seconds("--timeout", timeout), "options": given,
        "control": control, "capture": keep is not None and capture, "scenario": None, "cwd": str(Path.cwd()),
    }  # fmt: skip
    before = _baseline(baseline)
    found = [_tested(recipe, job, keep) for recipe in recipes]
    for item in found:
        earlier = before.get(item["recipe"])
        item["regressions"] = None if earlier is None else judge.regressions(earlier, item)
    _write(found, to_junit, summary)
    print(json.dumps({"tools": found}, indent=1, sort_keys=True) if as_json else report.as_text(found))
    return max(_status(item) for item in found)


def _write(found: list[dict[str, Any]], to_junit: Path | None, summary: Path | None) -> None:
    path = to_junit
    try:
        if to_junit is not None:
            to_junit.write_text(junit.render_tools(found), encoding="utf-8")
        path = summary
        if summary is not None:
            with summary.open("a", encoding="utf-8") as stream:
                stream.write(markdown.of_tools(found) + "\n")
    except OSError as error:
        raise InputError([Problem(str(path), f"can't be written: {error.strerror}", "give another place")]) from None


def _option(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise InputError([Problem(f"--set {text}", "not an option and its value", "write `--set NAME=VALUE`")])
    return name, value


def _seconds(option: str, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InputError([Problem(f"{option} {text}", str(error))]) from None


def _policies(given: tuple[str, ...]) -> list[str]:
    wanted = shipped.names("policies") if given == ("all",) else list(given or _DEFAULT_POLICIES)
    for policy in wanted:
        refuse_program(load_policy(policy), "be switched in while packets flow")
    return [str(Path(policy).resolve()) if policy.endswith((".yaml", ".yml")) else policy for policy in wanted]


def _baseline(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return {item["recipe"]: item for item in json.loads(path.read_text(encoding="utf-8"))["tools"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        mend = "give the output of `testbed tool … --json`"
        raise InputError([Problem(str(path), f"no earlier result: {error!r}", mend)]) from None


def _tested(reference: str, job: dict[str, Any], keep: Path | None) -> dict[str, Any]:
    recipe = load_recipe(reference)
    unknown = [name for name in job["options"] if name not in recipe.options]
    if unknown:
        known = ", ".join(recipe.options) or "none"
        raise InputError([Problem(f"--set {unknown[0]}", f"{recipe.recipe} has no such option", f"known: {known}")])
    if lacks := missing(recipe):
        return {"recipe": recipe.recipe, "title": recipe.title, "skipped": "; ".join(lacks), "policies": []}
    full = {**job, "recipe": reference}
    with tempfile.TemporaryDirectory(prefix="testbed-") as temporary:
        folder = keep / recipe.recipe if keep is not None else Path(temporary)
        status = live.play(full, folder)
        if status in (2, 130):
            raise click.exceptions.Exit(status)
        if status:
            raise TestbedError(f"the test of {recipe.recipe} ended with status {status}: see above")
        return read_result(folder.resolve())


def _status(item: dict[str, Any]) -> int:
    if item.get("skipped"):
        return 3
    if any(policy["verdict"] == "invalid" for policy in item["policies"]):
        return 3
    if item["regressions"] is not None:
        return 1 if item["regressions"] else 0
    return 0 if all(policy["verdict"] == "passes" for policy in item["policies"]) else 1


@command.command("install", short_help="Get the programs that recipes need.")
@click.argument("names", nargs=-1, metavar="NAME…")
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
