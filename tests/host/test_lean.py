"""A postponed module is as good as an imported one, and weighs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

USE = """
import sys
from edgesync.host.lean import postpone
postpone("urllib.request")
import urllib.request
from urllib import request
assert "http.client" not in sys.modules, "importing it loads nothing"
assert not hasattr(urllib.request, "__path__"), "and neither does looking at it"
assert "http.client" not in sys.modules
assert not urllib.request.proxy_bypass("nowhere") or True
assert "http.client" in sys.modules
import urllib.request as real
assert real.Request("http://x/").host == "x"
assert urllib.request is real is sys.modules["urllib.request"]
assert request.Request("http://y/").host == "y", "who has the stand-in has the module"
postpone("urllib.request")
assert urllib.request is real, "what is loaded stays"
"""
AGENT = """
import sys
import edgesync.cli.main, edgesync.agent.runner
heavy = {"http.client", "email.parser"} & set(sys.modules)
assert not heavy, heavy
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stderr


def test_it_is_loaded_by_its_first_use_and_then_it_is_the_module_itself() -> None:
    assert run(USE) == ""


def test_the_resident_agent_does_without_http_and_email() -> None:
    assert run(AGENT) == ""
