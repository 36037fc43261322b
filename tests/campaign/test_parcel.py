"""Parcels: all that is worth it arrives, and nothing lands outside the folder it is meant for."""

from __future__ import annotations

import io
import socket
import zipfile
from pathlib import Path

import pytest

from testbed.campaign import parcel
from testbed.campaign.order import rooted


def test_inputs_arrive_under_their_paths(tmp_path: Path) -> None:
    own = tmp_path / "here" / "lists" / "names.txt"
    own.parent.mkdir(parents=True)
    own.write_text("=a.example\n")
    there = tmp_path / "there"
    parcel.unpack(parcel.inputs([str(own)]), there)
    assert rooted(str(own), there) == str(there) + str(own)
    assert Path(rooted(str(own), there)).read_text() == "=a.example\n"
    assert rooted("/not/sent", there) == "/not/sent"
    assert rooted(str(own), None) == str(own)


def test_results_leave_sockets_and_raw_captures_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "cell" / "run"
    for name, text in {"result.json": "{}", "logs/a.log": "a", "work/raw.pcap": "b", "big": "x" * 100}.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(text)
    (run / "control").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(run / "control")
        listening.bind("gateway.sock")
    monkeypatch.setattr(parcel, "_LARGEST_BYTES", 50)
    parcel.unpack(parcel.results(tmp_path / "cell"), tmp_path / "home")
    found = {
        path.relative_to(tmp_path / "home").as_posix() for path in (tmp_path / "home").rglob("*") if path.is_file()
    }
    assert found == {"run/result.json", "run/logs/a.log", "left-out.txt"}
    assert "run/big" in (tmp_path / "home" / "left-out.txt").read_text()


def test_a_parcel_can_not_reach_out_of_its_folder(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../outside", "x")
        archive.writestr("/absolute", "x")
    parcel.unpack(buffer.getvalue(), tmp_path / "in")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["absolute", "outside"]
