"""The file system of the image, made by the Dockerfile's own instructions without an engine: what runs is in it, as a
user who may write nowhere, and nothing that builds.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ordersaga import __version__
from tests.smoke.rounds import IMAGE, rounds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("image")
    for one in (folder, folder.parent, folder.parent.parent):
        one.chmod(0o755)
    built = folder / "root"
    subprocess.run([sys.executable, IMAGE, "build", built], check=True, capture_output=True, timeout=800)
    yield built
    subprocess.run(["rm", "-rf", built], check=True)


def inside(image: Path, *command: str) -> subprocess.CompletedProcess[str]:
    argv: list[str | Path] = [sys.executable, IMAGE, "run", image, "--", *command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


def test_the_image_has_what_runs_and_nothing_that_builds(image: Path) -> None:
    assert inside(image, "ordersaga", "version").stdout.strip() == __version__
    assert inside(image, "id", "-u").stdout.strip() == "10001"
    script = "touch /x; touch /tmp/x; touch /opt/ordersaga/x; command -v gcc cc make pip; python -c 'import pip'"
    found = inside(image, "sh", "-c", script)
    assert found.stderr.count("Read-only file system") == 3 and found.stdout == ""
    assert "No module named 'pip'" in found.stderr
    kept = json.loads((image / ".image.json").read_text("utf-8"))
    assert kept["entrypoint"] + kept["command"] == ["ordersaga", "serve"]
    refused = inside(image, *kept["healthcheck"])
    assert refused.returncode == 1 and "nobody listens there" in refused.stderr


def test_the_smoke_test_runs_in_it_against_a_deployment_beside_it(image: Path) -> None:
    with rounds(image) as found:
        told = found.smoke("in the image")
        assert told.code == 0, told.text
        assert "CANCELLED; nothing of it is open" in told.text
        found.services.participant("payment").freeze()
        told = found.smoke("the payment service is silent")
        found.services.participant("payment").thaw()
        assert told.code == 1 and "the payment service has not answered" in told.text, told.text
