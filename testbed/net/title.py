"""What `/proc` and `ps` show of a process that was forked: the command that it stands for.

A forked process shows its parent's command, and people and tests look for a box by `pgrep -f`. The kernel takes another
place for a command's words from any process (`prctl(2)`, PR_SET_MM_MAP, since Linux 3.18 where CRIU is supported).
Where it refuses, the parent's command stays; nothing else depends on it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

_PR_SET_MM, _PR_SET_MM_MAP = 35, 14
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.sbrk.restype = ctypes.c_void_p
#: Where `proc(5)` puts them behind the process's name, from 0: code, stack, data, heap, words, environment
_FIELDS = {
    "start_code": 23, "end_code": 24, "start_stack": 25, "start_data": 42, "end_data": 43, "start_brk": 44,
    "env_start": 47, "env_end": 48,
}  # fmt: skip
_shown: list[ctypes.Array[ctypes.c_char]] = []  # the kernel reads them as long as this process lives


class _Map(ctypes.Structure):
    """`struct prctl_mm_map`."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in (
            "start_code", "end_code", "start_data", "end_data", "start_brk", "brk", "start_stack", "arg_start",
            "arg_end", "env_start", "env_end", "auxv",
        )),
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_int32),
    )  # fmt: skip


def take(argv: Sequence[str]) -> bool:
    """Have this process shown as a command; return whether the kernel agreed."""
    words = b"".join(word.encode(errors="surrogateescape") + b"\0" for word in argv)
    buffer = ctypes.create_string_buffer(words, len(words))
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    places = {name: int(fields[number]) for name, number in _FIELDS.items()}
    start = ctypes.addressof(buffer)
    shown = _Map(
        **places, brk=_LIBC.sbrk(0), arg_start=start, arg_end=start + len(words), auxv=None or 0, auxv_size=0,
        exe_fd=-1,
    )  # fmt: skip
    size = ctypes.c_ulong(ctypes.sizeof(shown))
    if _LIBC.prctl(_PR_SET_MM, _PR_SET_MM_MAP, ctypes.byref(shown), size, 0):
        return False
    _shown.append(buffer)
    return True
