"""Matchers of the user's own: a Python function that gets Scapy packets, or an ONNX model over a flow's first packets.

They run code that came with a policy file, so they are off unless the user allows them (`--allow-plugins`). A plug-in
that raises ends the run with its place: a censor that quietly lost a rule would look like an open country.

`python:FILE:FUNCTION`   `FUNCTION(packet, about)`: a Scapy `IP` or `IPv6` packet, and a mapping: `from_client`,
                         `from_inside`, `data_packets` (of its flow, so far), `sizes` (of the first, in bytes, negative
                         for the server's), `now`. What is true matches; a mapping is the evidence.
`onnx:FILE[@SHARE]`      A model with one input of shape [1, 2n], float32: the signed sizes of the flow's first n data
                         packets, then the seconds before each (for the first 0). It is asked at the n-th. An integer
                         output other than 0 matches; of a float output the last column must reach SHARE (0.5).

FILE stands beside the policy.
"""

from __future__ import annotations

import importlib.util
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from testbed import shipped
from testbed.dpi.evidence import Evidence, PlugIn
from testbed.dpi.inherit import read_inherited
from testbed.dpi.policy import Policy, load_policy, refuse_program
from testbed.dpi.sight import Sight
from testbed.errors import InputError, MachineError, Problem


def allow(policy: Policy, folder: Path) -> Policy:
    """Return a policy with its plug-ins loaded; `InputError` if one can't be."""
    wanted = sorted(_wanted(policy))
    return policy.model_copy(update={"plugins": {text: _load(text, folder) for text in wanted}}) if wanted else policy


def load_allowed(reference: str, groups: Mapping[str, Sequence[str]], *, plugins: bool) -> Policy:
    """Load a policy and, where the user allows them, its plug-ins; `InputError` if it has some and they are off."""
    policy = load_policy(reference, groups)
    refuse_program(policy, "be read by the engine")
    wanted = _wanted(policy)
    if not wanted:
        return policy
    document = read_inherited(reference).document
    places = {text: document.place(("rules", index, "match")) for text, index in wanted.items()}
    if not plugins:
        mend = "read it, then allow it with --allow-plugins"
        raise InputError([Problem(places[text], f"plug-ins are off: `{text}`", mend) for text in wanted])
    try:
        return allow(policy, shipped.find(reference, "policies").parent)
    except InputError as error:
        raise InputError([replace(item, place=places.get(item.place, item.place)) for item in error.problems]) from None


def _wanted(policy: Policy) -> dict[str, int]:
    """Return the plug-ins that a policy names, and the rule that does first."""
    found: dict[str, int] = {}
    for index, rule in enumerate(policy.rules):
        for match in rule.match.walk():
            if match.plugin is not None:
                found.setdefault(match.plugin, index)
    return found


def _load(text: str, folder: Path) -> PlugIn:
    kind, _, rest = text.partition(":")
    if kind == "python" and ":" in rest:
        file, _, function = rest.rpartition(":")
        return _python(_existing(text, folder / file), function)
    if kind == "onnx" and rest:
        file, _, share = rest.partition("@")
        try:
            return _onnx(_existing(text, folder / file), float(share or 0.5))
        except ValueError:
            raise InputError(
                [Problem(text, f"{share!r} is no share", "write one like `onnx:model.onnx@0.9`")]
            ) from None
    raise InputError([Problem(text, "not a plug-in", "write `python:FILE:FUNCTION` or `onnx:FILE`")])


def _existing(text: str, path: Path) -> Path:
    if not path.is_file():
        raise InputError([Problem(text, f"no such file as {path}", "put it beside the policy")])
    return path


def _python(path: Path, name: str) -> PlugIn:
    spec = importlib.util.spec_from_file_location(f"plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError([Problem(str(path), "not a Python file", "give it the ending .py")])
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError([_raised(path, error)]) from error
    function: Callable[[Any, Mapping[str, Any]], Any] | None = getattr(module, name, None)
    if not callable(function):
        raise InputError([Problem(str(path), f"no function `{name}` in it", f"write `def {name}(packet, about):`")])
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6

    def match(sight: Sight) -> Evidence | None:
        packet = (IP if sight.version == 4 else IPv6)(sight.raw)
        try:
            found = function(packet, about(sight))
        except Exception as error:
            raise InputError([_raised(path, error)]) from error
        return dict(found) if isinstance(found, Mapping) and found else {"plugin": name} if found else None

    return match


def about(sight: Sight) -> dict[str, Any]:
    """Return what a plug-in is told of a packet's flow."""
    return {
        "from_client": sight.from_client, "from_inside": sight.from_inside, "data_packets": sight.flow.data_packets,
        "sizes": _sizes(sight), "now": sight.now,
    }  # fmt: skip


def _sizes(sight: Sight) -> list[int]:
    opening = sight.flow.deep.opening if sight.flow.deep is not None else None
    shown = opening.packets if opening is not None else []
    return [item.length if item.from_client else -item.length for item in shown]


def _raised(path: Path, error: Exception) -> Problem:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = frames[-1].lineno if frames else getattr(error, "lineno", None) or 1
    return Problem(f"{path}:{line}", f"the plug-in raised {type(error).__name__}: {error}", "mend it, or leave it out")


def _onnx(path: Path, share: float) -> PlugIn:
    try:
        import numpy
        import onnxruntime
    except ImportError:
        raise MachineError("ONNX models need onnxruntime", "pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the same sums in the same order, whatever the machine
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError([Problem(str(path), f"not an ONNX model: {error}", "export it anew")]) from error
    entry = session.get_inputs()[0]
    width = entry.shape[-1] if len(entry.shape) == 2 else None
    if not isinstance(width, int) or width % 2 or entry.type != "tensor(float)":
        problem = Problem(str(path), f"its input is {entry.type} {entry.shape}", "export it with [1, 2n] float32")
        raise InputError([problem])

    def match(sight: Sight) -> Evidence | None:
        shown = sight.flow.more().opening.packets if sight.flow.deep is not None else []
        if len(shown) != width // 2:
            return None
        gaps = [0.0, *(after.at - before.at for before, after in pairwise(shown))]
        row = numpy.asarray([[*_sizes(sight), *gaps]], dtype=numpy.float32)
        value = numpy.asarray(session.run(None, {entry.name: row})[0]).reshape(-1)[-1]
        hit = bool(value != 0) if numpy.issubdtype(value.dtype, numpy.integer) else float(value) >= share
        return {"model": path.name, "output": round(float(value), 6)} if hit else None

    return match
