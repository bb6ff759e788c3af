"""Which systems are tested, and what the tests of one of them share."""

import json
import pkgutil
from collections.abc import Iterator

import jax
import pytest

from offline_mbrl.algorithms.algorithm import Definition
from offline_mbrl.algorithms.registry import definitions, get_definition, register
from offline_mbrl.conformance.case import Case, Trained, make_case, train
from offline_mbrl.conformance.data import SEEDS
from offline_mbrl.conformance.small import Settings
from offline_mbrl.conformance.traces import Traces, trace
from offline_mbrl.errors import UserError


def pytest_configure(config: pytest.Config) -> None:
    """The mark of the tests that compile, known to whoever runs them."""
    config.addinivalue_line("markers", "medium: compiles or trains")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test runs for every chosen system, all tests of one system together."""
    if "name" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--algorithm", None)
        names = [known(text) for text in chosen] if chosen else list(definitions())
        metafunc.parametrize("name", names, scope="module")


def known(text: str) -> str:
    """The name of the system that `--algorithm` means; one given as `module:DEFINITION` is registered."""
    try:
        return register(pkgutil.resolve_name(text)).name if ":" in text else get_definition(text).name
    except (UserError, ImportError, AttributeError) as error:
        raise pytest.UsageError(f"--algorithm {text}: {error}") from error


def setting(text: str) -> tuple[str, object]:
    """`key=value` as both; the value is read as JSON where it is JSON, else as text."""
    key, separator, value = text.partition("=")
    if not separator:
        raise pytest.UsageError(f"--small needs KEY=VALUE, not '{text}'")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


@pytest.fixture(scope="module")
def small(pytestconfig: pytest.Config) -> Settings:
    """The values of `--small`."""
    return dict(setting(text) for text in pytestconfig.getoption("--small", []))


@pytest.fixture(scope="module")
def definition(name: str) -> Definition:
    """The system called `name`."""
    return get_definition(name)


@pytest.fixture(scope="module")
def case(definition: Definition, small: Settings) -> Case:
    """The same, made small and compiled."""
    return make_case(definition, small)


@pytest.fixture(scope="module")
def traces(case: Case) -> Traces:
    """Its functions, traced."""
    return trace(case)


@pytest.fixture(scope="module")
def together(case: Case) -> Trained:
    """The run of all seeds side by side."""
    return train(case, *SEEDS)


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs() -> Iterator[None]:
    """Drops them after a module: each holds memory maps, of which a process may have 65,530."""
    yield
    jax.clear_caches()
