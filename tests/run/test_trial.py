"""Sites by which the control of a tool's test is tried."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from testbed.run.trial import named_by


def rule(name: str, **match: Any) -> dict[str, Any]:
    evidence = {"mark": "G", "source": "a test"}
    return {"name": name, "match": match, "action": {"drop": "packet"}, "evidence": evidence}


def test_a_policys_own_names_are_tried(tmp_path: Path) -> None:
    rules = [
        rule("a", protocol="tcp", sni={"patterns": [".one.example", "*two.example*", ".three.example"]}),
        rule("b", protocol="tcp", http_host={"patterns": ["=four.example", "*word*"]}),
        rule("c", protocol="udp", ports=[3478]),
    ]
    path = tmp_path / "p.yaml"  # JSON is YAML
    path.write_text(json.dumps({"policy": "p", "title": "P", "placement": "in-path", "rules": rules}))
    assert named_by(str(path)) == ["https://one.example/", "https://two.example/", "http://four.example/"]
    assert named_by("open") == []
