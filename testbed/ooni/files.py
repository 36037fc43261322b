"""Files of OONI measurements: JSON lines, plain or gzipped, as the OONI bucket has them; bad lines told and skipped.

A file that is one JSON value, as what people save from OONI Explorer, is one measurement, or a list of them.
"""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.errors import InputError, Problem
from testbed.ooni.measurement import Measurement, read_measurement

TEST = "web_connectivity"
_LARGEST_VALUE = 64 << 20


@dataclass(slots=True)
class Reading:
    """What was in the files. `others`: measurements of other tests, by test; `lines`: all that were not empty."""

    measurements: list[Measurement] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    lines: int = 0


def read_files(paths: Sequence[Path]) -> Reading:
    """Read files; `InputError` if one can't be read, or if no line of all of them is a measurement."""
    reading = Reading()
    for path in paths:
        try:
            with path.open("rb") as raw:
                zipped = raw.read(2) == b"\x1f\x8b"
            with gzip.open(path, "rb") if zipped else path.open("rb") as stream:
                for number, line in enumerate(_lines(stream), 1):
                    if line.strip():
                        _take(reading, line, f"{path}:{number}")
        except (OSError, EOFError) as error:
            what = f"can't be read: {error}"
            raise InputError([Problem(f"{path}:1", what, "give OONI measurements as JSON lines, or gzipped")]) from None
    if not reading.measurements and not reading.others:
        nothing = Problem(str(paths[0]), "no measurement in it", "give OONI measurements as JSON lines, or gzipped")
        raise InputError(reading.problems or [nothing])
    return reading


def _lines(stream: gzip.GzipFile | io.BufferedReader) -> Iterator[bytes]:
    """Yield a line a measurement; a file that is one value of JSON is written anew so, if it is no large one."""
    first = stream.readline()
    whole = first + stream.read(_LARGEST_VALUE) if first.strip()[:1] == b"[" or first.strip() == b"{" else b""
    try:
        value = json.loads(whole) if 0 < len(whole) < _LARGEST_VALUE else None
    except (ValueError, RecursionError):
        value = None
    if value is not None:
        yield from (json.dumps(item).encode() for item in (value if isinstance(value, list) else [value]))
        return
    yield from io.BytesIO(whole or first)
    yield from stream


def _take(reading: Reading, line: bytes, place: str) -> None:
    reading.lines += 1
    try:
        data = json.loads(line)
        if not isinstance(data, dict):
            raise ValueError("not a JSON object; give one measurement a line")
        test = data.get("test_name")
        if not isinstance(test, str):
            raise ValueError("no `test_name`; give measurements as OONI publishes them")
        if test != TEST:
            reading.others[test] += 1
            return
        reading.measurements.append(read_measurement(data))
    except (ValueError, RecursionError) as error:
        text = "not JSON; give one measurement a line" if isinstance(error, json.JSONDecodeError) else str(error)
        what, _, mend = text.partition("; ")
        reading.problems.append(Problem(place, what, mend))
