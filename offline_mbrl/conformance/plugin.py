"""The options of the conformance tests: a plugin of pytest, which adds nothing to a session that does not name them."""

import pytest


def pytest_load_initial_conftests(args: list[str], parser: pytest.Parser) -> None:
    """Adds the options where an argument of the session names this package."""
    if not any("offline_mbrl.conformance" in arg.replace("/", ".") for arg in args):
        return
    group = parser.getgroup("offline-mbrl conformance")
    group.addoption(
        "--algorithm",
        action="append",
        metavar="NAME",
        help="a registered system, or module:DEFINITION; may be repeated; every registered one when absent",
    )
    group.addoption(
        "--small",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a small value, read as JSON, of a setting that the system has; may be repeated",
    )
