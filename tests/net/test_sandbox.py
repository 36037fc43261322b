"""Where the kernel refuses the namespaces: which setting forbids them, and that sudo works."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import MachineError, UnfaithfulError
from testbed.net import sandbox


def refused(monkeypatch: pytest.MonkeyPatch, sysctls: tuple[tuple[str, str, str], ...]) -> str:
    def fails(argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 1, "", "unshare: unshare failed: Operation not permitted\n")

    monkeypatch.setattr(subprocess, "run", fails)
    monkeypatch.setattr(sandbox, "_SYSCTLS", sysctls)
    with pytest.raises(MachineError) as caught:
        sandbox.check_allowed(rootless=True)
    assert caught.value.exit_status == 3
    return str(caught.value)


def test_the_setting_that_forbids_them_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allows, forbids = tmp_path / "allows", tmp_path / "forbids"
    allows.write_text("0\n")
    forbids.write_text("1\n")
    told = refused(
        monkeypatch,
        (
            (str(tmp_path / "not-there"), "0", "sysctl a=1"), (str(allows), "1", "sysctl b=0"),
            (str(forbids), "1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
        ),
    )  # fmt: skip
    assert told == (
        "this kernel refuses user namespaces to ordinary users; as root: "
        "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or run the same command with sudo"
    )


def test_without_a_known_setting_the_kernels_word_and_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    told = refused(monkeypatch, ())
    assert "Operation not permitted" in told
    assert told.endswith("run the command with sudo")


def test_a_sandbox_that_was_killed_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "unshare_argv", lambda rootless: ["sh", "-c", "kill -9 $$"])
    monkeypatch.setattr(sandbox, "check_allowed", lambda rootless: None)
    with pytest.raises(UnfaithfulError, match="was killed"):
        sandbox.enter(["true"], run_dir=tmp_path)
