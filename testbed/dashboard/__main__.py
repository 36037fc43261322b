"""`python -m testbed.dashboard RUN PORT`: the page beside `testbed run --dashboard`, until standard input closes.

Where the port is taken it says so and takes a free one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from testbed.dashboard.runs import Runs
from testbed.dashboard.serve import serve
from testbed.errors import MachineError
from testbed.run.directory import RunDirectory

if __name__ == "__main__":
    os.nice(5)  # the run comes first
    run = RunDirectory(Path(sys.argv[1]))
    for port in (int(sys.argv[2]), 0):
        try:
            sys.exit(serve(Runs(run.path.parent), run, port, with_input=True))
        except MachineError as error:
            print(error, file=sys.stderr)
    sys.exit(3)
