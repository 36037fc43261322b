"""The result as JUnit XML: one test case an expectation, so that any CI shows it.

An invalid run has an *error* beside its cases: it proves nothing, so it must never look green.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree


def render(result: Mapping[str, Any]) -> str:
    """Return the XML text."""
    return written(_suite(result))


def render_many(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the XML text of several runs, each a suite."""
    suites = ElementTree.Element("testsuites")
    suites.extend(_suite(result) for result in results)
    return written(suites)


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
    """Return a tree as the text of a file."""
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
