"""Dockerfile, compose file and manifests fit to the code: every name and value in them is a setting that it takes,
every command one that there is, every port and path one that answers, every version the one that is tested.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import psycopg
import pytest
import yaml
from typer.testing import CliRunner

from ordersaga import __version__
from ordersaga.bootstrap_http import who_may_ask
from ordersaga.cli import app
from ordersaga.local.kafka_parts import KAFKA_VERSION
from ordersaga.orchestrator.runtime.doctor_access import OLDEST_SERVER
from ordersaga.orchestrator.runtime.service import NEEDED_TO_ANSWER
from ordersaga.redaction import LONG_CHARS
from ordersaga.settings import PREFIX, Settings
from ordersaga.settings_reading import SettingsError
from ordersaga.tokens import Role, new_token
from tests.deploy.files import (
    DOCKERFILE,
    KUBERNETES,
    OURS,
    ROOT,
    compose,
    manifest,
    manifests,
    services_of_ours,
    settings_of,
)
from tests.smoke.platform import platform
from tools.image import instructions

ENTRY = {name: rest for name, rest in instructions(DOCKERFILE.read_text("utf-8")) if name != "RUN"}
IN_IMAGE = dict(one.split("=", 1) for one in ENTRY["ENV"].split())


def pods() -> Iterator[dict[str, Any]]:
    for kind in ("Deployment", "Job"):
        yield manifest(kind)["spec"]["template"]["spec"]


def containers() -> Iterator[dict[str, Any]]:
    for pod in pods():
        yield from [*pod.get("initContainers", ()), *pod["containers"]]


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    """With secrets as the example has them, and tokens that are some."""
    _, line = new_token("shop", Role.CUSTOMER)
    secret = {**manifest("Secret")["stringData"], "auth-tokens": line, "smoke-token": "a-token"}
    own = {one["name"]: secret[one["valueFrom"]["secretKeyRef"]["key"]] for one in container["env"]}
    return {**IN_IMAGE, **manifest("ConfigMap")["data"], **own}


def test_every_variable_of_ours_is_a_setting_with_a_value_that_it_may_have() -> None:
    for service in services_of_ours().values():
        found = settings_of({**IN_IMAGE, **service["environment"]})
        assert found.participant_payment == "full"
    for container in containers():
        assert settings_of(environment_of(container)).kafka_partitions == 6


def test_a_name_that_is_no_setting_would_be_noticed() -> None:
    (orchestrator,) = [one for one in containers() if one["name"] == "orchestrator"]
    with pytest.raises(SettingsError, match="ORDERSAGA_PARTITIONS"):
        settings_of(environment_of(orchestrator) | {"ORDERSAGA_PARTITIONS": "6"})


def test_whoever_is_let_in_is_asked_for_a_token_or_it_is_said_that_nobody_is() -> None:
    (orchestrator,) = [one for one in containers() if one["name"] == "orchestrator"]
    assert who_may_ask(settings_of(environment_of(orchestrator)))
    assert settings_of({**IN_IMAGE, **services_of_ours()["orchestrator"]["environment"]}).auth == "none"
    ports = [port for service in compose()["services"].values() for port in service.get("ports", ())]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)
    bare = {**IN_IMAGE, "DATABASE_URL": "postgresql://a@b/c", "KAFKA_BOOTSTRAP_SERVERS": "k:1"}
    with pytest.raises(SettingsError, match="ORDERSAGA_AUTH_TOKENS"):
        who_may_ask(settings_of(bare))


def test_kubernetes_puts_no_variables_of_its_own_among_ours() -> None:
    """A Service called ordersaga would be told as ORDERSAGA_SERVICE_HOST, which is no setting."""
    assert all(pod["enableServiceLinks"] is False for pod in pods())


def test_every_command_is_one_that_there_is() -> None:
    run = [service["command"] for service in services_of_ours().values()]
    run += [container["args"] for container in containers()]
    run += [json.loads(ENTRY["CMD"])]
    assert json.loads(ENTRY["ENTRYPOINT"]) == ["ordersaga"]
    for words in run:
        must_be_a_command(words)
    for asked in healthchecks():
        assert asked[:2] == ["ordersaga", "healthcheck"]
        must_be_a_command(asked[1:])


def must_be_a_command(words: Sequence[str]) -> None:
    """Its names and options, without running it."""
    found = CliRunner().invoke(app, [*words, "--help"])
    assert found.exit_code == 0, (words, found.output)
    for option in [word for word in words if word.startswith("--")]:
        assert option in found.output


def healthchecks() -> list[list[str]]:
    found = [service["healthcheck"]["test"][1:] for service in services_of_ours().values()]
    return [*found, json.loads(ENTRY["HEALTHCHECK"].partition(" CMD ")[2])]


def test_every_port_is_the_one_that_is_listened_on() -> None:
    api, desk = Settings().http_port, Settings().participants_http_port
    assert ENTRY["EXPOSE"].split() == [str(api), str(desk)]
    published = {name: [port.rpartition(":")[2] for port in one["ports"]] for name, one in services_of_ours().items()}
    assert published == {"orchestrator": [str(api)], "participants": [str(desk)]}
    (orchestrator,) = [one for one in containers() if one["name"] == "orchestrator"]
    assert orchestrator["ports"] == [{"name": "http", "containerPort": api}]
    assert manifest("Service")["spec"]["ports"][0]["targetPort"] == "http"
    note = manifest("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert note["prometheus.io/port"] == str(api)
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert scraped["scrape_configs"][0]["dns_sd_configs"][0] == {
        "names": ["orchestrator"], "type": "A", "port": api, "refresh_interval": "15s",
    }  # fmt: skip


def test_every_path_that_is_asked_answers(database_url: str) -> None:
    (orchestrator,) = [one for one in containers() if one["name"] == "orchestrator"]
    probed = {orchestrator[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8"))
    metrics = scraped["scrape_configs"][0]["metrics_path"]
    note = manifest("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert metrics == note["prometheus.io/path"] and probed == {"/livez", "/readyz/api"}
    assert orchestrator["livenessProbe"]["httpGet"]["path"] == "/livez"
    with platform(database_url) as at:
        ports = {"8080": at.settings.http_port, "8090": at.settings.participants_http_port}
        asked = {(ports["8080"], path) for path in {metrics, *probed}}
        for *_, url in healthchecks():
            parts = urlsplit(url)
            asked.add((ports[str(parts.port)], parts.path))
        for port, path in asked:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                assert answer.status == 200, path
        with urlopen(f"http://127.0.0.1:{ports['8080']}/readyz/api", timeout=10) as answer:
            assert {part["name"] for part in json.load(answer)["parts"]} == NEEDED_TO_ANSWER


def test_versions_are_those_that_are_tested(database_url: str) -> None:
    images = {name: service["image"] for name, service in compose()["services"].items()}
    assert images["kafka"] == f"apache/kafka:{KAFKA_VERSION}"
    with psycopg.connect(database_url) as connection:
        newest = connection.info.server_version // 10_000
    assert images["postgres"] == f"postgres:{newest}"
    readme = (ROOT / "README.md").read_text("utf-8")
    assert f"Apache Kafka (tested with {KAFKA_VERSION}, " in readme
    assert f"PostgreSQL {OLDEST_SERVER // 10_000} or newer (tested with {newest})" in readme
    assert {one["image"] for one in services_of_ours().values()} == {f"ordersaga:{__version__}"}
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text("utf-8"))
    assert kustomization["images"][0]["newTag"] == __version__
    assert {container["image"] for container in containers()} == {kustomization["images"][0]["name"]}
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE.read_text("utf-8"), re.MULTILINE)
    assert len(set(bases)) == 1 and bases[0].startswith("python:3.11-")


def test_nobody_is_root_and_nothing_is_written_to() -> None:
    user, _, group = ENTRY["USER"].partition(":")
    for service in services_of_ours().values():
        assert service["read_only"] is True and service["user"] == ENTRY["USER"] and service["cap_drop"] == ["ALL"]
    for pod in pods():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] and (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
    for container in containers():
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True and context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_a_stop_has_more_time_than_it_takes() -> None:
    stop_seconds = Settings().stop_timeout_seconds
    for service in services_of_ours().values():
        assert float(service["stop_grace_period"].removesuffix("s")) > stop_seconds
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    given = float(manifest("ConfigMap")["data"]["ORDERSAGA_STOP_TIMEOUT_SECONDS"])
    assert pod["terminationGracePeriodSeconds"] > pause + given + 5


def test_there_are_never_more_processes_than_partitions() -> None:
    scaled, data = manifest("ScaledObject")["spec"], manifest("ConfigMap")["data"]
    partitions = int(data["ORDERSAGA_KAFKA_PARTITIONS"])
    assert scaled["minReplicaCount"] <= scaled["maxReplicaCount"] <= partitions == Settings().kafka_partitions
    assert services_of_ours()["orchestrator"]["deploy"]["replicas"] <= Settings().kafka_partitions
    (trigger,) = scaled["triggers"]
    assert trigger["metadata"]["consumerGroup"] == Settings().kafka_group
    assert trigger["metadata"]["bootstrapServers"] == data["KAFKA_BOOTSTRAP_SERVERS"]
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    assert scaled["scaleTargetRef"]["name"] == manifest("Deployment")["metadata"]["name"]
    assert "replicas" not in manifest("Deployment")["spec"]


def test_what_is_chosen_by_labels_is_there() -> None:
    template = manifest("Deployment")["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    chosen = [manifest("Deployment")["spec"]["selector"]["matchLabels"], manifest("Service")["spec"]["selector"]]
    chosen += [manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]]
    chosen += [template["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]]
    assert all(one.items() <= labels for one in chosen)
    job = manifest("Job")["spec"]["template"]["metadata"]["labels"].items()
    assert not any(one.items() <= job for one in chosen)


def test_secrets_are_named_and_never_written_down() -> None:
    keys = set(manifest("Secret")["stringData"])
    references = [one["valueFrom"]["secretKeyRef"] for container in containers() for one in container["env"]]
    assert {one["name"] for one in references} == {manifest("Secret")["metadata"]["name"]}
    assert {one["key"] for one in references} == keys
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text("utf-8"))
    there = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
    assert set(kustomization["resources"]) == there
    assert "CHANGE-ME" in manifest("Secret")["stringData"]["database-url"]


def test_the_password_that_is_for_looking_is_no_word_that_a_log_line_needs() -> None:
    """It is taken out of what the log says."""
    services = compose()["services"]
    password = services["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert len(password) >= LONG_CHARS
    for service in services_of_ours().values():
        url = service["environment"]["DATABASE_URL"]
        assert urlsplit(url).password == password and url.count(password) == 1
    assert not any(password in name for name in (*services, *Settings.model_fields, "ordersaga"))


def test_a_schema_is_migrated_by_one_job_and_by_nobody_else() -> None:
    (deployment,) = [one for one in containers() if one["name"] == "orchestrator"]
    assert {"--no-migrate", "--no-create-topics"} <= set(deployment["args"])
    job = manifest("Job")["spec"]["template"]["spec"]
    assert [one["args"] for one in (*job["initContainers"], *job["containers"])] == [["migrate"], ["topics", "apply"]]


def test_what_grafana_and_prometheus_are_given_is_where_it_is_looked_for() -> None:
    for service in compose()["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in compose()["volumes"] or (ROOT / "deploy" / source).exists(), volume
    grafana = ROOT / "deploy" / "grafana" / "provisioning"
    provider = yaml.safe_load((grafana / "dashboards" / "ordersaga.yml").read_text("utf-8"))["providers"][0]
    mounted = [one for one in compose()["services"]["grafana"]["volumes"] if one.startswith("./grafana/ordersaga.json")]
    assert mounted[0].split(":")[1].startswith(provider["options"]["path"])
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert all((ROOT / "deploy" / "prometheus" / name).is_file() for name in scraped["rule_files"])


def test_no_variable_that_begins_like_ours_is_anything_else() -> None:
    """In text as well: comments and pages name none that there is not."""
    for path in (
        DOCKERFILE,
        ROOT / "deploy" / "compose.yml",
        *KUBERNETES.glob("*.yaml"),
        ROOT / "docs" / "deploying.md",
    ):
        named = set(re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", path.read_text("utf-8")))
        assert named <= OURS, path
    assert list(manifests())
