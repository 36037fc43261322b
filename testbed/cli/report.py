"""`testbed report`: a run's result again, in the form asked for; its data and plots as files; two runs compared."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.table import Table

from testbed.cli.screen import screen
from testbed.cli.words import FILE
from testbed.errors import InputError, Problem
from testbed.report import compare, html, junit, matrix, plots, text
from testbed.report.tables import Run, load_run

FORMS = ("text", "json", "junit", "html")
_STYLES = {"worse": "red", "better": "green", "changed": "yellow"}


@click.command("report", short_help="A run's result as text, JSON, JUnit or HTML; two runs compared.")
@click.argument("run", type=FILE, nargs=-1)
@click.option("--format", "form", type=click.Choice(FORMS), default="text", show_default=True,
              help="What is printed.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Write the page, each table as CSV and each plot as SVG and PNG into DIR.")  # fmt: skip
@click.option("--compare", "two", nargs=2, metavar="A B", help="What differs in run B from run A.")
@click.option("--tolerance", type=click.FloatRange(0, 1), default=compare.TOLERANCE, show_default=True,
              help="How far a figure may move before --compare shows it, as a share.")  # fmt: skip
def command(
    run: tuple[str, ...], form: str, as_json: bool, output: Path | None, two: tuple[str, str] | None, tolerance: float
) -> int:
    """Print the result of the run whose directory is RUN, of several runs as a matrix, or compare two runs.

    Exit status with --compare: 0 B is no worse than A, 1 it is worse, 3 one of them proves nothing.
    """
    if two is not None:
        if run or output is not None:
            raise click.UsageError("--compare takes its two runs and nothing else")
        return _compare(load_run(two[0]), load_run(two[1]), tolerance, as_json or form == "json")
    if not run:
        raise click.UsageError("name the run's directory, or give --compare A B")
    form = "json" if as_json else form
    if len(run) > 1:
        return _matrix([load_run(each) for each in run], form, output)
    loaded = load_run(run[0])
    if output is not None:
        _write(loaded, output)
    elif form == "json":
        print(json.dumps(loaded.result, indent=1, ensure_ascii=False))
    elif form == "junit":
        print(junit.render(loaded.result), end="")
    elif form == "html":
        print(html.render(loaded))
    else:
        screen().print(text.render(loaded.result))
    return 0


def _matrix(runs: list[Run], form: str, output: Path | None) -> int:
    if output is not None:
        _make(output)
        page, data = output / "matrix.html", output / "matrix.csv"
        page.write_text(matrix.render_html(runs, output.resolve()), encoding="utf-8")
        matrix.write_csv(runs, data)
        print(page, data, sep="\n")
    elif form == "json":
        print(json.dumps([run.result for run in runs], indent=1, ensure_ascii=False))
    elif form == "junit":
        print(junit.render_many([run.result for run in runs]), end="")
    elif form == "html":
        print(matrix.render_html(runs))
    else:
        screen().print(matrix.render_text(runs))
    return 0


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError([Problem(str(folder), f"can't be made: {error.strerror}", "give another place")]) from None


def _write(run: Run, folder: Path) -> None:
    _make(folder)
    written = [folder / "report.html"]
    written[0].write_text(html.render(run), encoding="utf-8")
    for table in run.tables:
        written.append(folder / f"{table.name}.csv")
        table.to_csv(written[-1])
    written += plots.save(run, folder)
    for path in written:
        print(path)


def _compare(a: Run, b: Run, tolerance: float, as_json: bool) -> int:
    differences = compare.compare(a, b, tolerance)
    unproven = [run for run in (a, b) if run.result["status"] in ("invalid", "interrupted")]
    worse = any(difference.change == "worse" for difference in differences)
    status = 3 if unproven else int(worse)
    if as_json:
        found = [difference.as_json() for difference in differences]
        print(json.dumps({"a": str(a.path), "b": str(b.path), "status": status, "differences": found}, indent=1))
        return status
    console = screen()
    for run in unproven:
        console.print(f"{run.path.name} is {run.result['status']}: it proves nothing", style="magenta")
    if not differences:
        console.print("no difference")
        return status
    grid = Table(box=None, pad_edge=False)
    for title in ("", "what", "where", a.path.name, b.path.name):
        grid.add_column(title)
    for d in differences:
        grid.add_row(d.change, d.what, d.where, d.before, d.after, style=_STYLES[d.change])
    console.print(grid)
    return status
