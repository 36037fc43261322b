"""An app that this machine can't run says what is missing and how to get it."""

from __future__ import annotations

import shutil

import pytest

from testbed.apps import lacks


@pytest.mark.parametrize(
    ("kind", "missing", "said"),
    [
        ("browser", "chromium", "no browser on this machine (chromium, google-chrome-stable, google-chrome): `apt"),
        ("browser", "firefox", "no browser on this machine (firefox-esr, firefox): `apt install firefox-esr`"),
        ("xmpp", "prosody", "no program prosody on this machine: `apt install prosody`"),
        ("webrtc", "turnserver", "no program turnserver on this machine: `apt install coturn`"),
        ("xmpp", "slixmpp", "no Python package slixmpp here: `pip install 'turkmenistan-testbed[apps]'`"),
        ("webrtc", "aiortc", "no Python package aiortc here: `pip install 'turkmenistan-testbed[apps]'`"),
    ],
)
def test_what_is_missing_is_named_with_its_mend(
    kind: str, missing: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if missing[:6] in name or missing == "chromium" else "/x")
    monkeypatch.setattr(lacks, "find_spec", lambda name: None if name == missing else name)
    params = {"browser": "firefox"} if "firefox" in said else {}
    assert str(lacks.lacks(kind, params)).startswith(said)


def test_nothing_is_missing_for_what_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(lacks, "find_spec", lambda name: name)
    assert [kind for kind in ("web", "messenger", "browser", "xmpp", "webrtc") if lacks.lacks(kind, {})] == []
