"""The process of a box: `python -m testbed.middlebox.box CONFIG.json`, in the box's namespaces.

Says `ready` on standard output once its rules are in place; ends on SIGTERM.
"""

from __future__ import annotations

import gc
import json
import signal
import sys
from pathlib import Path

from testbed.errors import TestbedError
from testbed.middlebox.live import BoxConfig, LiveBox


def main(path: Path) -> int:
    """Serve as the box that a file describes; return the exit status."""
    try:
        box = LiveBox(BoxConfig(**json.loads(path.read_text(encoding="utf-8"))))
    except TestbedError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    signal.signal(signal.SIGTERM, lambda number, frame: box.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # what start-up made lives for ever: the collector need not look at it between packets
    print("ready", flush=True)
    try:
        box.run()
    finally:
        box.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
