"""Errors that cross from one process to another come out as what they were."""

from __future__ import annotations

import json

import pytest

from testbed.errors import InputError, MachineError, Problem, TestbedError, UnfaithfulError, as_data, from_data
from testbed.tools.runner import ToolError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InputError([Problem("p.yaml:3", "no such key", "drop it"), Problem("p.yaml:9", "no text")]), InputError),
        (MachineError("no veth", "modprobe veth"), MachineError),
        (UnfaithfulError("the link was late"), UnfaithfulError),
        (ToolError("ssh: no key"), UnfaithfulError),  # a kind that only one module knows becomes what it is made of
        (TestbedError("a bug"), TestbedError),
    ],
)
def test_an_error_survives_being_data(error: TestbedError, kind: type[TestbedError]) -> None:
    again = from_data(json.loads(json.dumps(as_data(error))))
    assert type(again) is kind
    assert (str(again), again.exit_status) == (str(error), error.exit_status)
