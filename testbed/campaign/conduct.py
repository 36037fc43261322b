"""A whole matrix: what earlier results spare, who carries out the rest, and what is left behind of it all."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from testbed.campaign import verdict
from testbed.campaign.cells import Cell
from testbed.campaign.crew import Crew, LocalCrew
from testbed.campaign.folder import Folder, write_json
from testbed.campaign.inputs import Key, key_of
from testbed.campaign.order import order_of
from testbed.campaign.outcome import Outcome
from testbed.campaign.play import play
from testbed.campaign.spec import Matrix
from testbed.campaign.tell import Teller
from testbed.campaign.verdict import Judged
from testbed.report import campaign as report


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks: most runs side by side (0: as many as go), and how."""

    jobs: int = 0
    fresh: bool = False
    no_run: bool = False
    scheduler: str | None = None
    plugins: bool = False


@dataclass(frozen=True, slots=True)
class Conducted:
    """A matrix as far as it came."""

    about: Mapping[str, Any]
    judged: tuple[Judged, ...]
    interrupted: bool

    @property
    def status(self) -> int:
        """The exit status."""
        return verdict.exit_status(self.judged)

    def as_json(self) -> dict[str, Any]:
        """Return the contents of `matrix.json`."""
        return verdict.as_json({**self.about, "interrupted": self.interrupted}, self.judged)


def conduct(matrix: Matrix, cells: Sequence[Cell], folder: Folder, wanted: Wanted) -> Conducted:
    """Run what has to be run of some cells of a matrix, write the folder, and return all of it.

    A KeyboardInterrupt ends what runs and leaves what came before it; the rest is `missing`.
    """
    with folder.taken():
        keys = {cell.name: key_of(matrix, cell) for cell in cells}
        known = {} if wanted.fresh else _known(cells, keys, folder, programs=not wanted.no_run)
        found: dict[str, Outcome] = dict(known)
        todo = [] if wanted.no_run else [cell for cell in cells if cell.name not in known]
        teller = Teller(matrix.title, len(todo), len(cells) - len(todo))
        interrupted = False

        def tell(outcome: Outcome) -> None:
            outcome = replace(outcome, key=keys[outcome.cell].as_json())
            folder.keep(outcome)
            found[outcome.cell] = outcome
            teller.tell(outcome, next(cell for cell in cells if cell.name == outcome.cell).expected)

        orders = [order_of(matrix, cell, plugins=wanted.plugins) for cell in todo]
        try:
            if orders:
                with _crew(folder, wanted) as crew, teller:
                    play(orders, crew, tell, lambda waiting: teller.tick(crew.busy, waiting, crew.state))
        except KeyboardInterrupt:
            interrupted = True
        judged = tuple(Judged(cell, found.get(cell.name), cell.name in known) for cell in cells)
        about = {"matrix": matrix.matrix, "title": matrix.title, "about": matrix.about,
                 "command": shlex.join(["testbed", *sys.argv[1:]])}  # fmt: skip
        conducted = Conducted(about, judged, interrupted)
        _write(folder, conducted)
        return conducted


def _known(cells: Sequence[Cell], keys: Mapping[str, Key], folder: Folder, *, programs: bool) -> dict[str, Outcome]:
    every = {cell.name: folder.known(cell.name, keys[cell.name], programs=programs) for cell in cells}
    return {name: outcome for name, outcome in every.items() if outcome is not None}


@contextlib.contextmanager
def _crew(folder: Folder, wanted: Wanted) -> Iterator[Crew]:
    if wanted.scheduler is None:
        with LocalCrew(folder.cells, wanted.jobs) as crew:
            yield crew
    else:
        from testbed.campaign.cluster import ClusterCrew  # Dask takes a second to load

        with ClusterCrew(wanted.scheduler, folder.cells) as cluster:
            yield cluster


def _write(folder: Folder, conducted: Conducted) -> None:
    data = conducted.as_json()
    folder.junit.write_text(report.render_junit(data), encoding="utf-8")
    folder.page.write_text(report.render_html(data, folder.path), encoding="utf-8")
    write_json(folder.summary, data)
