"""Problems as SARIF 2.1.0: what code hosts show beside the lines that a check is about. Pure.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from edgesync.control.parse import Problem

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_RULES = {
    "fleet": "fleet.yaml says how the fleet is updated",
    "boards": "boards/ declares each board once",
    "releases": "releases/ names images that are there",
    "config": "config/ gives each board a tree that it accepts",
}
"""A rule for each part of the repository, by the first name of the path."""


def log(problems: Sequence[Problem], version: str, failure: str = "") -> dict[str, Any]:
    """The log of one run of this version of edgesync; `failure` says why the check could not be done, if so."""
    driver = {
        "name": "edgesync",
        "version": version,
        "rules": [{"id": name, "shortDescription": {"text": text}} for name, text in _RULES.items()],
    }
    invocation: dict[str, Any] = {"executionSuccessful": not failure}
    if failure:
        invocation["toolExecutionNotifications"] = [{"level": "error", "message": {"text": failure}}]
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": [_result(problem) for problem in problems],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(problem: Problem) -> dict[str, Any]:
    rule = problem.file.partition("/")[0].removesuffix(".yaml")
    place: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(problem.file), "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": max(1, problem.line)},  # SARIF has no line 0: the whole file stands at its first
        }
    }
    if problem.key:
        place["logicalLocations"] = [{"fullyQualifiedName": problem.key, "kind": "member"}]
    return {
        "ruleId": rule,
        "ruleIndex": list(_RULES).index(rule),
        "level": "error",
        "message": {"text": problem.said},
        "locations": [place],
    }
