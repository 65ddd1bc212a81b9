"""Apache Kafka starts wherever its files are: also where a path has letters that Java would read otherwise."""

import subprocess
import sys
from pathlib import Path

import pytest

from ordersaga.local.failures import LocalError
from ordersaga.local.java import Java
from ordersaga.local.kafka import KafkaCluster
from ordersaga.local.kafka_parts import KafkaParts, properties_text
from tests.cli.test_cli import environment


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("/var/data/kafka-1", "/var/data/kafka-1"),
        ("/data/übung", r"/data/\u00fcbung"),
        ("/data/日本", r"/data/\u65e5\u672c"),
        ("/data/🚀", r"/data/\ud83d\ude80"),
        (r"C:\temp", r"C:\\temp"),
        ("  two spaces", r"\ \ two\ spaces"),
        ("two\nlines\r\tand\f\x00", r"two\nlines\r\tand\f\u0000"),
        ("a=b:c#d!e", "a=b:c#d!e"),
        ("", ""),
    ],
)
def test_a_file_of_properties_says_in_plain_letters_what_it_was_given(value: str, text: str) -> None:
    assert properties_text({"log.dirs": value, "node.id": "1"}) == f"log.dirs={text}\nnode.id=1\n"


def test_a_broker_starts_where_a_path_has_other_letters(tmp_path: Path) -> None:
    with KafkaCluster.start(directory=tmp_path / "übung 日本") as cluster:
        assert (cluster.directory / "node-1" / "meta.properties").exists()
        assert list((cluster.directory / "node-1").glob("__cluster_metadata-*"))


START = """
import sys
from pathlib import Path
from ordersaga.local.kafka import KafkaCluster
with KafkaCluster.start(directory=Path(sys.argv[1])) as cluster:
    print(*(path.name for path in Path(cluster.directory, "node-1").glob("__cluster_metadata-*")))
"""


def test_a_broker_starts_there_also_where_no_locale_is_set(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", START, str(tmp_path / "übung")]
    ended = subprocess.run(argv, env=environment(LC_ALL="C"), capture_output=True, text=True, timeout=100)
    assert (ended.returncode, ended.stdout) == (0, "__cluster_metadata-0\n"), ended.stderr


@pytest.mark.parametrize("names_in", ["UTF-8", "x-unheard-of"])
def test_a_java_that_may_get_the_path_right_is_asked(names_in: str) -> None:
    java = Java(executable=Path("java"), home=Path("/"), version=17, build="1", names_in=names_in)
    java.check_names("/data/übung")


def test_a_java_that_cannot_be_told_the_path_is_not_asked() -> None:
    java = Java(executable=Path("java"), home=Path("/"), version=17, build="1", names_in="ANSI_X3.4-1968")
    parts = KafkaParts(java=java, jars=(Path("/jars/one.jar"),), archive_flags=())
    assert parts.command("kafka.Kafka", "/data/plain")[-1] == "/data/plain"
    with pytest.raises(LocalError, match=r"ANSI_X3\.4-1968.*/data/\\xfcbung.*LC_ALL"):
        parts.command("kafka.Kafka", "/data/übung")
