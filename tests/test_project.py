"""What the project promises of itself: contracts between packages that bite, versions that are pinned, a setup that
says what it lacks, and a fresh copy that needs nothing but Python, make and a package registry.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.house_rules import ROOT, project_pages

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CONTRACTS = {c["id"]: c["name"] for c in PROJECT["tool"]["importlinter"]["contracts"]}

# contract, the module that breaks it, the import that does
PLANTED: Sequence[tuple[str, str, str]] = (
    ("one-way", "ordersaga.orchestrator.core.decide", "import ordersaga.orchestrator.sagas.create_order"),
    ("one-way", "ordersaga.orchestrator.core.decide", "import ordersaga.orchestrator.store.protocol"),
    ("one-way", "ordersaga.orchestrator.store.protocol", "import ordersaga.orchestrator.runtime.handle"),
    ("one-way", "ordersaga.orchestrator.runtime.handle", "import ordersaga.orchestrator.api"),
    ("one-way", "ordersaga.orchestrator.runtime.handle", "import ordersaga.settings"),
    ("pure", "ordersaga.wire.ids", "import structlog"),
    ("pure", "ordersaga.orchestrator.core.decide", "import ordersaga.delivery.clock"),
    ("pure", "ordersaga.orchestrator.sagas.create_order", "import psycopg"),
    ("kafka", "ordersaga.bus.memory", "from kafka.errors import KafkaError"),
    ("psycopg", "ordersaga.orchestrator.runtime.handle", "import psycopg.rows"),
    ("psycopg", "ordersaga.settings", "from psycopg_pool import ConnectionPool"),
    ("participants-orchestrator", "ordersaga.participants.order", "import ordersaga.orchestrator.core.reasons"),
    ("participants-each-other", "ordersaga.participants.order", "import ordersaga.participants.payment"),
    ("plumbing", "ordersaga.wire.ids", "import ordersaga.orchestrator.core.reasons"),
    ("plumbing", "ordersaga.bus.memory", "import ordersaga.participants.order"),
    ("plumbing", "ordersaga.delivery.relay", "import ordersaga.orchestrator.store.protocol"),
)


@pytest.fixture
def planted_in(tmp_path: Path) -> Path:
    """A copy of the sources to plant violations in."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(("contract", "module", "line"), PLANTED)
def test_a_contract_between_packages_catches_a_planted_import(
    planted_in: Path, contract: str, module: str, line: str
) -> None:
    path = planted_in / "src" / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    file.write_text(f"{file.read_text('utf-8')}\n{line}\n", "utf-8")

    checked = _contract_is_checked(planted_in, contract)

    assert checked.returncode == 1, checked.stdout
    assert "1 broken" in checked.stdout
    assert module in checked.stdout


def test_every_contract_is_proven_on_a_planted_import() -> None:
    assert {contract for contract, *_ in PLANTED} == CONTRACTS.keys()


def test_every_package_that_a_contract_names_exists_unless_it_is_marked_optional() -> None:
    named = [
        name
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        for value in contract.values()
        if isinstance(value, list)
        for name in value
        if name.startswith("ordersaga.")
    ]
    assert [name for name in named if not _exists(name)] == []


def _exists(module: str) -> bool:
    path = ROOT / "src" / Path(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def _contract_is_checked(copy: Path, contract: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    command = [str(program), "--no-cache", "--no-logo", "--contract", contract]
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "COLUMNS": "200"}
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=60)


def test_every_version_is_pinned_and_nothing_else_is_said_about_it() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    names = [canonicalize_name(line.split("==")[0]) for line in lines]
    assert len(names) == len(set(names))


def test_every_direct_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    pinned = _pinned()
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    for requirement in map(Requirement, wanted):
        if requirement.name != "ordersaga":
            assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def _pinned() -> Mapping[str, Version]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}


def test_what_is_built_is_built_by_a_pinned_version() -> None:
    assert [str(Requirement(r).specifier)[:2] for r in PROJECT["build-system"]["requires"]] == ["=="]


@pytest.mark.parametrize(
    "target", ["setup", "demo", "demo-kafka", "test", "check", "ci", "bench", "docs", "reference", "format", "clean"]
)
def test_make_help_explains_every_command(target: str) -> None:
    helped = _make(ROOT, "help")
    assert re.search(rf"^  make {target} {{2,}}\w", helped.stdout, re.MULTILINE), helped.stdout


@pytest.fixture
def bare_copy(tmp_path: Path) -> Path:
    """The files that setup reads, without an environment."""
    (tmp_path / "tools").mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "tools/setup"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_a_machine_with_an_old_python_only_is_told_so(bare_copy: Path) -> None:
    old = _pretend_python(bare_copy, '"$2" = "import sys; print(\\"%d.%d.%d\\" % sys.version_info[:3])"', "echo 3.9.18")

    refused = _make(bare_copy, "setup", f"PYTHON={old}")

    assert refused.returncode != 0
    assert f"Python 3.11 or newer is needed; {old} is 3.9.18;" in refused.stderr
    assert refused.stdout == ""


def test_a_machine_without_any_python_is_told_so(bare_copy: Path) -> None:
    refused = _make(bare_copy, "setup", "PYTHON=no-such-python")

    assert refused.returncode != 0
    assert "Python 3.11 or newer is needed; none was found;" in refused.stderr


def test_a_python_that_cannot_make_environments_is_told_apart(bare_copy: Path) -> None:
    lacking = _pretend_python(bare_copy, '"$2" != "import ensurepip, venv"', f'exec "{sys.executable}" "$@"')

    refused = _make(bare_copy, "setup", f"PYTHON={lacking}")

    assert refused.returncode != 0
    assert "no ensurepip" in refused.stderr
    assert not (bare_copy / ".venv").exists()


def _pretend_python(folder: Path, condition: str, then: str) -> Path:
    """A program that does `then` where its arguments meet `condition`, and fails otherwise."""
    program = folder / "pretended-python"
    program.write_text(f"#!/bin/sh\nif [ {condition} ]; then {then}; else exit 1; fi\n", "utf-8")
    program.chmod(0o755)
    return program


def _make(folder: Path, *arguments: str, timeout_seconds: float = 60) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL", "ARGS", "PYTHON"}}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_seconds)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_fresh_copy_sets_itself_up_and_standard_output_is_the_programs_own(tmp_path: Path) -> None:
    for page in project_pages():
        copied = tmp_path / page.path
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / page.path, copied)

    first = _make(tmp_path, "demo", "ARGS=--help", timeout_seconds=580)
    second = _make(tmp_path, "demo", "ARGS=--help")

    assert first.returncode == 0, first.stderr
    assert "setup: ready in" in first.stderr
    assert "Usage" in first.stdout
    assert "setup" not in second.stderr
    assert second.stdout == first.stdout
