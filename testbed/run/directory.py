"""The run directory: where everything that one run leaves behind has its place.

Names only; who writes which file is said beside it. A run directory is complete only once `result.json` exists, which
is written last.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.errors import InputError, Problem


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The files of one run below `path`."""

    path: Path

    @classmethod
    def create(cls, parent: Path, name: str, started: datetime.datetime) -> RunDirectory:
        """Make `parent/name-YYYYmmdd-HHMMSS`, with a number behind it if two runs start in the same second."""
        stem = f"{name}-{started:%Y%m%d-%H%M%S}"
        for attempt in range(1, 1000):
            path = parent / (stem if attempt == 1 else f"{stem}-{attempt}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                problem = Problem(str(parent), f"can't be written: {error.strerror}", "give another place with --out")
                raise InputError([problem]) from None
            return cls.prepared(path)
        raise InputError([Problem(str(parent), f"a thousand runs named {stem} exist", "remove old runs")])

    @classmethod
    def prepared(cls, path: Path) -> RunDirectory:
        """Take an existing directory and make the folders inside it."""
        directory = cls(path.resolve())
        for folder in ("logs", "pcap", "apps", "control", "work"):
            (directory.path / folder).mkdir(exist_ok=True)
        return directory

    @property
    def scenario(self) -> Path:
        """The scenario as resolved: `extends` merged, defaults filled in."""
        return self.path / "scenario.yaml"

    @property
    def result(self) -> Path:
        """The outcome; the last file to be written."""
        return self.path / "result.json"

    @property
    def events(self) -> Path:
        """Every decision of every box and every step of the timeline, in time order, one JSON object a line."""
        return self.path / "events.jsonl"

    @property
    def fidelity(self) -> Path:
        """How close the link came to what was asked."""
        return self.path / "fidelity.json"

    @property
    def nodes(self) -> Path:
        """The process ids of the nodes, as seen inside the sandbox."""
        return self.path / "nodes.json"

    @property
    def plan(self) -> Path:
        """The net as it was built: nodes, addresses, cables."""
        return self.path / "plan.json"

    @property
    def authorities(self) -> Path:
        """The certificate authorities of censors that open TLS connections: `NAME-IN-SMALL-LETTERS/ca.pem`."""
        return self.path / "ca"

    @property
    def link_samples(self) -> Path:
        """Rate, queue and counters of the national link ten times a second, as JSON lines."""
        return self.path / "link.jsonl"

    @property
    def round_trips(self) -> Path:
        """Round trips as JSON lines: t, rtt_s, flow, kind; measured in a capture, or else out of the link's own log."""
        return self.path / "roundtrips.jsonl"

    @property
    def screenshots(self) -> Path:
        """What browsers showed, `APP-PHASE.png`; there only if one ran."""
        return self.path / "screenshots"

    @property
    def steps(self) -> Path:
        """The steps of the timeline as they are taken, before they are merged into `events`."""
        return self.path / "work" / "steps.jsonl"

    def control(self, name: str) -> Path:
        """The control socket of a box or of the link."""
        return self.path / "control" / f"{name}.sock"

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.path / "logs" / f"{name}.log"

    def app_results(self, name: str) -> Path:
        """The result lines of one app."""
        return self.path / "apps" / f"{name}.jsonl"

    def box_events(self, box: str) -> Path:
        """The decisions of one box, before they are merged into `events`."""
        return self.path / "work" / f"{box}.events.jsonl"

    def capture(self, box: str, side: str) -> Path:
        """The capture of one side of one box."""
        return self.path / "pcap" / f"{box}-{side}.pcapng"

    def write_json(self, path: Path, value: Any) -> None:
        """Write a JSON file in one step, so that a reader never sees half of it."""
        partial = path.with_suffix(path.suffix + ".part")
        partial.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)


def open_run(ref: str | Path) -> RunDirectory:
    """Find a run directory named by a user; `InputError` if there is none."""
    path = Path(ref)
    if path.is_file() and path.name == "result.json":
        path = path.parent
    if not path.is_dir() or not ((path / "logs").is_dir() or (path / "result.json").is_file()):
        raise InputError([Problem(str(ref), "is not a run directory", "give the folder that `testbed run` named")])
    return RunDirectory(path.resolve())


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read JSON lines; a last line cut off by a kill is left out, any other bad line is an error."""
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except ValueError:
            if number == len(lines):  # no newline behind it: the writer was ended in the middle
                return
            raise InputError([Problem(f"{path}:{number}", "not a JSON line", "the run's files were changed")]) from None
