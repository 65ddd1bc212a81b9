"""What is shipped to run it elsewhere, read as whoever runs it reads it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ordersaga.settings import Settings, variable
from ordersaga.settings_reading import SECRETS, read

ROOT = Path(__file__).parents[2]
DOCKERFILE, IGNORED = ROOT / "Dockerfile", ROOT / ".dockerignore"
COMPOSE = ROOT / "deploy" / "compose.yml"
KUBERNETES = ROOT / "deploy" / "kubernetes"
OURS = {variable(name) for name in Settings.model_fields} | {f"{variable(name)}_FILE" for name in SECRETS}
NEEDED = ("database_url", "kafka_bootstrap_servers")


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))
    return found


def services_of_ours() -> dict[str, dict[str, Any]]:
    """Those that run our image."""
    found = compose()["services"]
    return {name: one for name, one in found.items() if one["image"].startswith("ordersaga:")}


def manifests() -> Iterator[dict[str, Any]]:
    """All but what `kustomize` alone reads."""
    for path in sorted(KUBERNETES.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from filter(None, yaml.safe_load_all(path.read_text("utf-8")))


def manifest(kind: str) -> dict[str, Any]:
    (found,) = [one for one in manifests() if one["kind"] == kind]
    return found


def settings_of(environment: Mapping[str, str]) -> Settings:
    """As a process in there would read them. Raises `SettingsError` for a name that is none and a value that may not
    be.
    """
    return read(environment=environment, needs=NEEDED)
