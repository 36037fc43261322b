"""The result as JUnit XML: one test case an expectation, so that any CI shows it.

An invalid run has an *error* beside its cases: it proves nothing, so it must never look green.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

#: https://www.w3.org/TR/xml/#charsets; not even as references
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(result: Mapping[str, Any]) -> str:
    """Return the XML text."""
    return written(_suite(result))


def render_many(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the XML text of several runs, each a suite."""
    suites = ElementTree.Element("testsuites")
    suites.extend(_suite(result) for result in results)
    return written(suites)


def render_tools(tools: Sequence[Mapping[str, Any]]) -> str:
    """Return the XML text of tests of tools: a suite each, a case for each policy.

    With a baseline a case fails where the tool got worse, without one where it doesn't get through.
    """
    suites = ElementTree.Element("testsuites")
    for tool in tools:
        cases = [_tool_case(tool, policy) for policy in tool["policies"]] or [_skipped(tool)]
        counts = {kind: sum(case.find(kind) is not None for case in cases) for kind in ("failure", "error", "skipped")}
        suite = ElementTree.SubElement(
            suites, "testsuite", name=str(tool["recipe"]), tests=str(len(cases)), failures=str(counts["failure"]),
            errors=str(counts["error"]), skipped=str(counts["skipped"]),
        )  # fmt: skip
        suite.extend(cases)
    return written(suites)


def _skipped(tool: Mapping[str, Any]) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=str(tool["recipe"]), name="the tool can be run")
    ElementTree.SubElement(case, "skipped", message=str(tool.get("skipped") or "no policy was tried"))
    return case


def _tool_case(tool: Mapping[str, Any], policy: Mapping[str, Any]) -> ElementTree.Element:
    name, verdict = str(policy["policy"]), str(policy["verdict"])
    case = ElementTree.Element("testcase", classname=str(tool["recipe"]), name=f"gets through {name}")
    failures = [f"{what} ({times}x)" for what, times in (policy.get("success") or {}).get("failures", {}).items()]
    rules = [f"by {entry['rule']}: {entry['reason']} on {entry['flow']}" for entry in policy.get("blocked_by", [])]
    if verdict == "invalid":
        ElementTree.SubElement(case, "error", message="; ".join(policy["why"]) or "nothing is proven")
        return case
    if tool.get("regressions") is None:
        wrong = [] if verdict == "passes" else [verdict]
    else:
        own = f"{name}: "
        wrong = [what.removeprefix(own) for what in tool["regressions"] if what.startswith(own)]
    if wrong:
        failure = ElementTree.SubElement(case, "failure", message="; ".join([*wrong, *failures, *rules]))
        said = [f"{name} said: {text}" for name, text in policy.get("said", {}).items()]
        died = [str(policy.get("started") or ""), *policy.get("died", [])]
        failure.text = "\n".join([*died, *failures, *rules, *said]).strip()
    return case


def _suite(result: Mapping[str, Any]) -> ElementTree.Element:
    cases = result["expectations"]
    invalid = result["status"] in ("invalid", "interrupted")
    suite = ElementTree.Element(
        "testsuite",
        name=str(result["scenario"]),
        tests=str(len(cases) + invalid),
        failures=str(sum(not case["holds"] for case in cases)),
        errors=str(int(invalid)),
        skipped="0",
        time=f"{result['duration_s']:.3f}",
        timestamp=str(result["started"])[:19],
    )
    for case in cases:
        name = f"{case['app']} is {case['expected']}"
        element = ElementTree.SubElement(
            suite, "testcase", classname=f"{result['scenario']}.{case['phase']}", name=name
        )
        if not case["holds"]:
            failure = ElementTree.SubElement(element, "failure", message=str(case["why"]))
            failure.text = f"expected {case['expected']}, observed {case['observed']}"
    if invalid:
        element = ElementTree.SubElement(suite, "testcase", classname=str(result["scenario"]), name="the run is valid")
        ElementTree.SubElement(element, "error", message="; ".join(result["why"]) or str(result["status"]))
    return suite


def written(root: ElementTree.Element) -> str:
    """Return a tree as the text of a file; characters that XML has no place for become `?`."""
    ElementTree.indent(root)
    text = _NO_XML.sub("?", ElementTree.tostring(root, encoding="unicode"))
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'
