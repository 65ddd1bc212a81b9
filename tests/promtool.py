"""promtool: the machine's, or the one in Debian's package of Prometheus, unpacked into the cache."""

import os
import shutil
import subprocess
from pathlib import Path

from ordersaga.local.cache import built_once


def promtool() -> Path:
    """Where it is. Raises where it is neither there nor to be had, with what to do."""
    known = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if known:
        return Path(known)
    return built_once("promtool", _unpack) / "promtool"


def _unpack(directory: Path) -> None:
    try:
        subprocess.run(
            ["apt-get", "download", "prometheus"], cwd=directory, check=True, capture_output=True, timeout=300
        )
        (package,) = directory.glob("prometheus_*.deb")
        subprocess.run(["dpkg-deb", "-x", package, directory / "all"], check=True, capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise RuntimeError(
            f"promtool is not here and not to be had ({error}): install Prometheus, or set PROMTOOL"
        ) from error
    shutil.move(directory / "all" / "usr" / "bin" / "promtool", directory / "promtool")
    shutil.rmtree(directory / "all")
    package.unlink()
