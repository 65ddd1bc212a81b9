"""Apache Kafka itself: its jars, an archive of its classes for a fast start, and a formatted empty store.

All three are made once and kept in the cache. The jars come through Maven, or where there is none through jgo, which
does the same in Python. With the archive a broker is ready in about one second instead of two.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ordersaga.local.cache import built_once
from ordersaga.local.failures import LocalError, PartMissing
from ordersaga.local.java import Java, base_archive, find_java, java_environment
from ordersaga.local.terminal import say
from ordersaga.local.tools import package_directory

KAFKA_VERSION = "4.3.1"
_COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",  # without it a broker logs nothing
)
_JGO = "jgo>=3.2,<4"
_CURE = (
    "Apache Kafka's jars could not be had. `apt-get install maven`, or let `pip` reach its package index, "
    "or, for tests, set KAFKA_BOOTSTRAP_SERVERS to a broker that runs already"
)
_DOWNLOAD_SECONDS = 900
_FORMAT_SECONDS = 60
_JAVA_FLAGS = (
    "-Xms64m",
    "-Xmx256m",
    "-Xss512k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:MaxMetaspaceSize=128m",
    "-XX:-UsePerfData",
    "-Dlog4j2.disableJmx=true",
)
_LOGGING = f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaParts:
    """What it takes to run a broker here."""

    java: Java
    jars: tuple[Path, ...]
    archive_flags: tuple[str, ...]
    """Of Java, to use an archive of classes or to make one."""
    bootstrap_checkpoint: bytes = b""
    """The first file of an empty store, the same for all of one version."""

    def command(self, main_class: str, *arguments: str, flags: Sequence[str] = ()) -> list[str]:
        """Raises `LocalError` where Java would read it otherwise."""
        self.java.check_names(*arguments, *flags, *map(str, self.jars))
        all_flags = [*_JAVA_FLAGS, _LOGGING, *self.archive_flags, *flags]
        return [str(self.java.executable), *all_flags, "-cp", ":".join(map(str, self.jars)), main_class, *arguments]


Rehearse = Callable[[KafkaParts], None]
"""Runs a broker from start to an orderly end."""


def find_kafka_parts(rehearse: Rehearse, sample_properties: Mapping[str, str]) -> KafkaParts:
    """`rehearse` and `sample_properties` serve to make the archive of classes and the empty store, if they are not
    there yet. Raises `PartMissing`.
    """
    java = find_java()
    plain = KafkaParts(java=java, jars=_find_jars(java), archive_flags=())
    base = base_archive(java)

    def prepare(directory: Path) -> None:
        say("preparing Apache Kafka for fast starts, once")
        checkpoint = _format(plain, sample_properties, directory)
        archive = directory / "classes.jsa"
        onto = (f"-XX:SharedArchiveFile={base}",) if base is not None else ()
        flags = (f"-XX:ArchiveClassesAtExit={archive}", *onto)
        rehearse(replace(plain, archive_flags=flags, bootstrap_checkpoint=checkpoint))
        if not archive.exists():
            raise LocalError(f"Java made no archive of Apache Kafka's classes at {archive}")

    flavour = hashlib.sha256(" ".join([java.fingerprint, *_COORDINATES, *_JAVA_FLAGS]).encode()).hexdigest()[:12]
    prepared = built_once(f"kafka-{KAFKA_VERSION}-prepared-{flavour}", prepare)
    return replace(
        plain,
        archive_flags=_use_archives(base, prepared / "classes.jsa"),
        bootstrap_checkpoint=(prepared / "bootstrap.checkpoint").read_bytes(),
    )


def _find_jars(java: Java) -> tuple[Path, ...]:
    fingerprint = hashlib.sha256(" ".join(_COORDINATES).encode()).hexdigest()[:12]
    directory = built_once(f"kafka-{KAFKA_VERSION}-jars-{fingerprint}", lambda scratch: _download(java, scratch))
    return tuple(sorted(directory.glob("*.jar")))


def _download(java: Java, directory: Path) -> None:
    say(f"downloading Apache Kafka {KAFKA_VERSION} (44 MB), once")
    try:
        _download_with_maven(java, directory)
    except PartMissing as without_maven:
        say(f"without Maven, for {str(without_maven).splitlines()[0]}")
        try:
            _download_with_jgo(directory)
        except PartMissing as without_jgo:
            raise PartMissing(f"{_CURE}\n{without_maven}\n{without_jgo}") from None


def _download_with_maven(java: Java, directory: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise PartMissing("mvn is not on the PATH")
    pom = directory / "pom.xml"
    pom.write_text(_pom())
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={directory}"]
    _run_download([maven, "-q", "-B", "-f", str(pom), *goal], {"JAVA_HOME": str(java.home)})


def _download_with_jgo(directory: Path) -> None:
    packages = package_directory("jgo", _JGO, "downloads Java's jars where there is no Maven")
    _run_download([sys.executable, "-c", _FETCH, str(directory), *_COORDINATES], {"PYTHONPATH": str(packages)})


_FETCH = """
import shutil, sys, jgo
for coordinate in sys.argv[2:]:  # one by one: together they would share their versions of what both need
    for artifact in jgo.resolve(coordinate):
        shutil.copy(artifact.resolve(), sys.argv[1])
"""


def _run_download(command: list[str], env: Mapping[str, str]) -> None:
    try:
        outcome = subprocess.run(
            command,
            check=False,
            env={**java_environment(), **env},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DOWNLOAD_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise PartMissing(f"{command[0]} was not done within {_DOWNLOAD_SECONDS} s") from None
    if outcome.returncode != 0:
        said = (outcome.stdout + outcome.stderr).strip()[-2000:]
        raise PartMissing(f"{command[0]} ended with exit code {outcome.returncode}:\n{said}")


def _pom() -> str:
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        for group, artifact, version in (coordinate.split(":") for coordinate in _COORDINATES)
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>local</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )


def _use_archives(base: Path | None, archive: Path) -> tuple[str, ...]:
    """An archive that does not fit is passed over in silence: the broker then merely starts more slowly."""
    together = f"{base}:{archive}" if base is not None else str(archive)
    return (f"-XX:SharedArchiveFile={together}", "-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off")


def _format(parts: KafkaParts, properties: Mapping[str, str], directory: Path) -> bytes:
    """Kafka's own tool formats a store; of what it writes, only the checkpoint is not ours to write."""
    store = directory / "store"
    configuration = directory / "format.properties"
    configuration.write_text(properties_text({**properties, "log.dirs": str(store)}))
    arguments = ["format", "-t", "AAAAAAAAAAAAAAAAAAAAAA", "-c", str(configuration), "--ignore-formatted"]
    outcome = subprocess.run(
        parts.command("kafka.tools.StorageTool", *arguments),
        env=java_environment(),
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_FORMAT_SECONDS,
    )
    if outcome.returncode != 0:
        raise LocalError(f"Apache Kafka could not format a store:\n{(outcome.stdout + outcome.stderr)[-2000:]}")
    shutil.move(store / "bootstrap.checkpoint", directory / "bootstrap.checkpoint")
    shutil.rmtree(store)
    return (directory / "bootstrap.checkpoint").read_bytes()


def properties_text(properties: Mapping[str, str]) -> str:
    """The text of a file as `java.util.Properties` reads it: in ISO-8859-1, so that all other letters are escaped, and
    so is what would end a value or be passed over at its beginning. Keys are plain words.
    """
    return "".join(f"{key}={''.join(map(_escaped, value))}\n" for key, value in properties.items())


def _escaped(letter: str) -> str:
    if letter in _ESCAPES or "!" <= letter <= "~":
        return _ESCAPES.get(letter, letter)
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


_ESCAPES = {"\\": "\\\\", " ": "\\ ", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
