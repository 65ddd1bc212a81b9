"""What others say of the files: hadolint of the Dockerfile, Docker Compose of the compose file, Kubernetes' own schemas
of the manifests.
"""

import json
import subprocess
from pathlib import Path

import jsonschema_rs
import pytest
from packaging.version import Version

from tests.deploy.files import COMPOSE, DOCKERFILE, manifests
from tests.deploy.linters import linters
from tests.promtool import promtool

ELSEWHERE = {"ScaledObject"}
"""KEDA's: its schema is not among Kubernetes' own."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]


def test_hadolint_has_nothing_to_say() -> None:
    found = subprocess.run([linters() / "bin" / "hadolint", DOCKERFILE], capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout) == (0, ""), found.stdout + found.stderr


def test_compose_takes_the_file_and_means_by_it_what_we_mean() -> None:
    program = linters() / "bin" / "docker-compose"
    argv: list[str | Path] = [program, "--file", COMPOSE, "config", "--format", "json"]
    found = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    services = json.loads(found.stdout)["services"]
    assert services["orchestrator"]["deploy"]["replicas"] == 2
    assert services["orchestrator"]["environment"]["ORDERSAGA_PARTICIPANT_USER"] == "full"
    assert Path(services["orchestrator"]["build"]["context"]) == DOCKERFILE.parent
    assert services["orchestrator"]["depends_on"]["kafka"]["condition"] == "service_healthy"


def test_kubernetes_takes_every_manifest() -> None:
    schemas = newest_schemas()
    definitions = json.loads((schemas / "_definitions.json").read_text("utf-8"))
    checked = []
    for one in [manifest for manifest in manifests() if manifest["kind"] not in ELSEWHERE]:
        group, _, version = one["apiVersion"].rpartition("/")
        name = "-".join(filter(None, (one["kind"].lower(), group.partition(".")[0], version)))
        schema = json.loads((schemas / f"{name}.json").read_text("utf-8"))
        validator = jsonschema_rs.validator_for(schema, retriever=lambda uri: definitions)
        validator.validate(one)
        checked.append(one["kind"])
        with pytest.raises(jsonschema_rs.ValidationError):
            validator.validate(one | {"speck": {}})
    assert sorted(checked) == ["ConfigMap", "Deployment", "Job", "PodDisruptionBudget", "Secret", "Service"]


def newest_schemas() -> Path:
    """Strict: a field that there is not is an error."""
    found = (linters() / "kubernetes_validate" / "kubernetes-json-schema").glob("*-local-strict")
    return max(found, key=lambda path: Version(path.name.removeprefix("v").partition("-")[0]))


def test_prometheus_takes_its_configuration() -> None:
    path = COMPOSE.parent / "prometheus" / "prometheus.yml"
    found = subprocess.run([promtool(), "check", "config", path], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stdout + found.stderr
