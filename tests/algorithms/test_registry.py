"""Every system is found by its name; one that is not sound is named with its file or package and spoils no other."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from offline_mbrl.algorithms import registry, systems
from offline_mbrl.algorithms.algorithm import Definition
from offline_mbrl.algorithms.presets import default_source, preset_names, resolve
from offline_mbrl.algorithms.registry import (
    definitions,
    get_definition,
    own_names,
    preset_path,
    register,
    unregister,
)
from offline_mbrl.algorithms.systems import bc
from offline_mbrl.errors import UserError
from offline_mbrl.launch.suite import jobs, read_suite
from tests.outside import TRIAL, install, write_package

TOML = '[source]\nall = "our choice"\n\n[default]\nsteps = { value = 7000, source = "a page" }\n'


@pytest.fixture(autouse=True)
def _warnings_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_said", set())


@pytest.fixture
def trial() -> Iterator[Definition]:
    """Registered in this process, under another name than the outside package's."""
    yield register(replace(bc.DEFINITION, name="my_trial"))
    unregister("my_trial")


def put_into_the_folder(monkeypatch: pytest.MonkeyPatch, folder: Path, **files: str) -> None:
    """Lets `folder` be a part of `systems/`, with a file for each keyword (`trial_py` is trial.py)."""
    for name, text in files.items():
        (folder / ".".join(name.rsplit("_", 1))).write_text(text)
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(folder)])
    monkeypatch.delitem(sys.modules, f"{systems.__name__}.trial", raising=False)
    monkeypatch.delattr(systems, "trial", raising=False)


def modules_after(call: str) -> set[str]:
    """The modules that a fresh process has imported after `call`."""
    script = f"import sys; from offline_mbrl.algorithms import registry; {call}; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


def test_finds_all_fifteen_in_alphabetical_order() -> None:
    assert set(own_names()) >= {
        *("bc", "td3_bc", "cql", "iql", "edac", "atac", "drop"),
        *("mopo", "combo", "morel", "rambo", "mobile", "micro", "crop", "armor"),
    }
    assert list(definitions()) == sorted(definitions())
    assert set(definitions()) >= set(own_names())


@pytest.mark.parametrize("name", ["td3_bc", "TD3-BC", "td3-bc", "TD3+BC", "Td3_Bc"])
def test_letter_case_and_hyphens_do_not_matter(name: str) -> None:
    assert get_definition(name).name == "td3_bc"


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown algorithm 'Mopp'; did you mean 'mopo'\?"):
        get_definition("Mopp")


def test_one_name_imports_one_system() -> None:
    script = (
        "import sys; from offline_mbrl.algorithms.registry import get_definition as g; g('BC'); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in own_names() if f"{systems.__name__}.{name}" in loaded] == ["bc"]


def test_names_are_known_without_jax() -> None:
    script = "import sys; from offline_mbrl.algorithms.registry import names; names(); print('jax' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_a_sixteenth_in_the_folder_is_one_file_and_one_preset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put_into_the_folder(monkeypatch, tmp_path, trial_py=TRIAL, trial_toml=TOML)
    assert definitions()["trial"].title == "Trial"
    assert preset_path("trial") == tmp_path / "trial.toml"
    assert resolve(get_definition("trial"), "hopper-medium").steps == 7000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DEFINTION = 1", "trial.py has no DEFINITION; each module of that folder must define the system of its name"),
        ("DEFINITION = 'bc'", "DEFINITION of .*trial.py is of type str; it must be a Definition"),
        (TRIAL.replace('"trial"', '"trail"'), "DEFINITION of .*trial.py has the name 'trail'; it must be 'trial'"),
    ],
)
def test_a_module_of_the_folder_that_defines_no_system_of_its_name_is_an_error_with_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, message: str
) -> None:
    put_into_the_folder(monkeypatch, tmp_path, trial_py=text, trial_toml=TOML)
    for look in (definitions, lambda: get_definition("trial")):
        with pytest.raises(UserError, match=message):
            look()
    assert get_definition("bc") is bc.DEFINITION  # asked for by name, the others are not in the way


def test_a_missing_or_misspelt_preset_file_is_an_error_with_both_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_into_the_folder(monkeypatch, tmp_path, trial_py=TRIAL, trail_toml=TOML)
    with pytest.raises(UserError, match=r"trial\.py has no preset file; write .*trial\.toml"):
        definitions()


def test_a_system_of_another_package_is_found_and_trained_like_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, write_package(tmp_path))
    assert get_definition("Trial").title == definitions()["trial"].title == "Trial"
    assert "trial" not in own_names()
    (tmp_path / "suite.toml").write_text(
        'tasks = ["hopper-medium"]\nsource = "synthetic"\nsize = 500\nsteps = 100\nevaluate_every = 50\n'
        '[[run]]\nalgorithm = "TRIAL"\nset = { batch_size = 32 }\n'
    )
    (job,) = jobs(read_suite(tmp_path / "suite.toml"))
    assert (job.algorithm, job.config["batch_size"]) == ("trial", 32)


def test_a_preset_file_beside_another_packages_module_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, write_package(tmp_path))
    assert preset_path("trial") is None
    assert preset_names("trial") == []
    assert default_source("trial", "batch_size") == "trial_module"
    (tmp_path / "trial.toml").write_text(TOML + '\n[preset.long.default]\nsteps = { value = 9, source = "x" }\n')
    assert preset_path("trial") == tmp_path / "trial.toml"
    assert preset_names("trial") == ["long"]
    assert resolve(get_definition("trial"), "hopper-medium").steps == 7000
    assert default_source("trial", "batch_size") == "our choice"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("", "cannot be loaded: AttributeError: .* has no attribute 'DEFINITION'"),
        ("DEFINITION = 3", "is of type int; it must be a Definition"),
        (TRIAL.replace('"trial"', '"trail"'), "has the name 'trail'; it must be 'trial'"),
    ],
)
def test_a_broken_package_is_one_line_with_its_name_and_spoils_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, reason: str
) -> None:
    install(monkeypatch, write_package(tmp_path, text))
    message = rf"the system 'trial' of package 'trial_module' \(trial_module:DEFINITION\) {reason}"
    with pytest.warns(UserWarning, match=message) as caught:
        assert set(definitions()) >= set(own_names())
    assert [str(warning.message).count("\n") for warning in caught] == [0]
    with warnings.catch_warnings(action="error"):
        assert "trial" not in definitions()  # said once
    with pytest.raises(UserError, match=message):
        get_definition("trial")


def test_a_package_cannot_take_a_name_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, write_package(tmp_path, TRIAL.replace('"trial"', '"bc"'), point="bc"))
    with pytest.warns(UserWarning, match="the system 'bc' of package 'trial_module' is left out"):
        assert definitions()["bc"] is bc.DEFINITION
    assert get_definition("bc") is bc.DEFINITION


def test_two_packages_with_one_name_are_both_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_package(tmp_path)
    install(monkeypatch, write_package(tmp_path, module="second_module"))
    with pytest.raises(UserError, match="more than one package adds a system 'trial'") as error:
        get_definition("trial")
    assert "'trial_module'" in str(error.value)
    assert "'second_module'" in str(error.value)


def test_a_system_of_a_notebook_is_registered_once(trial: Definition) -> None:
    assert get_definition("My-Trial") is trial
    assert definitions()["my_trial"] is trial
    assert "my_trial" not in own_names()
    assert register(trial) is trial
    with pytest.raises(UserError, match=r"a system named 'my_trial' is known already; .* unregister\('my_trial'\)"):
        register(replace(trial))
    unregister("my_trial")
    assert "my_trial" not in definitions()


def test_register_refuses_what_is_no_system_or_has_a_name_of_ours() -> None:
    assert register(bc.DEFINITION) is bc.DEFINITION
    with pytest.raises(UserError, match="a system named 'bc' is known already"):
        register(replace(bc.DEFINITION))
    with pytest.raises(UserError, match="has the name 'My Trial'; it must be 'my_trial'"):
        register(replace(bc.DEFINITION, name="My Trial"))
    with pytest.raises(UserError, match="is of type int; it must be a Definition"):
        register(3)  # type: ignore[arg-type]


def test_a_definition_outside_the_registry_has_no_presets() -> None:
    unknown = replace(bc.DEFINITION, name="unknown")
    assert preset_path("unknown") is None
    assert resolve(unknown, "hopper-medium").config == unknown.config()
