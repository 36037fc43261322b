"""Files on their way between machines that share no disk: the inputs of an order there, what its run left back.

ZIP archives in memory; unpacking never leaves the folder it is given.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

_MOST_BYTES, _LARGEST_BYTES = 256 << 20, 64 << 20
#: Sockets' folder, and captures as tcpdump writes them (a run keeps its own in `pcap/`)
_LEFT_OUT_FOLDERS, _LEFT_OUT = ("control",), (".sock", ".pcap", ".part")
_NOTE = "left-out.txt"


def inputs(files: Iterable[str]) -> bytes:
    """Return files under their absolute paths."""
    return _packed((path.lstrip("/"), Path(path)) for path in files)


def results(folder: Path) -> bytes:
    """Return what a run left that is worth sending; a note in it names what was too large."""
    found = [path for path in _files(folder) if not _is_left_out(path.relative_to(folder))]
    chosen: list[Path] = []
    total = 0
    for path in sorted(found, key=lambda path: (path.stat().st_size, path)):
        total += path.stat().st_size
        if total <= _MOST_BYTES and path.stat().st_size <= _LARGEST_BYTES:
            chosen.append(path)
    if too_large := sorted(str(path.relative_to(folder)) for path in set(found) - set(chosen)):
        note = folder / _NOTE
        note.write_text("\n".join(["Too large to be sent from the machine that ran this:", *too_large, ""]))
        chosen.append(note)
    return _packed((path.relative_to(folder).as_posix(), path) for path in sorted(chosen))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _is_left_out(path: Path) -> bool:
    return path.suffix in _LEFT_OUT or any(part in _LEFT_OUT_FOLDERS for part in path.parts)


def _packed(items: Iterable[tuple[str, Path]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for name, path in items:
            archive.write(path, name)
    return buffer.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Put the files of a parcel below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(folder)
