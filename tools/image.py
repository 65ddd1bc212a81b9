"""The image without a container engine: carries out the Dockerfile's instructions in a directory; runs programs in it.

    python tools/image.py build DIRECTORY
    python tools/image.py run DIRECTORY [NAME=VALUE ...] [NAME ...] -- COMMAND [ARGUMENT ...]

`build` reads the Dockerfile: each stage begins with a base, RUN is run in it by chroot, COPY obeys .dockerignore. `run`
is what an engine would do: the image's environment and of ours what is named, its user, no capability, no new
privileges, mount, process and host names of its own, and everything read-only.

It is no engine. The base is no published image: it is made of Debian's packages of the same release and the same Python
(`BASES`), by mmdebstrap, once, and kept in the cache. The network is this machine's. Needs root, Linux and apt.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ordersaga.local.cache import built_once

ROOT = Path(__file__).resolve().parent.parent
BASES = {
    "python:3.11-slim-bookworm": ("bookworm", ("python3-venv", "python-is-python3", "ca-certificates")),
}
"""What stands for a published image: Debian's release, and packages."""
CONFIG = ".image.json"
DEVICES = ("null", "zero", "full", "random", "urandom")
BORROWED = ("/etc/resolv.conf", "/etc/ssl/certs", "/etc/pip.conf")
"""Of this machine, while RUN runs: where an engine's own network would be."""
_HANDED_ON = re.compile(r"(PIP_(?!FIND_LINKS)|SSL_CERT_|REQUESTS_CA_BUNDLE)")
_KNOWN_BY_ALL = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
SECONDS_MAX = 900


@dataclass
class Stage:
    root: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(_KNOWN_BY_ALL))
    directory: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction's name and the rest of it, lines that go on put together, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    for line in filter(str.strip, joined.splitlines()):
        name, _, rest = line.strip().partition(" ")
        yield name.upper(), rest.strip()


def build(directory: Path) -> None:
    """The last stage's file system in `directory`, with what an engine would keep beside it."""
    stages: dict[str, Stage] = {}
    stage = Stage(directory)
    for name, rest in instructions((ROOT / "Dockerfile").read_text("utf-8")):
        print(f"image: {name} {rest}"[:120], file=sys.stderr, flush=True)
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            stage = Stage(directory.with_name(f"{directory.name}.{alias or 'last'}"))
            stages[alias or "last"] = stage
            _copy(_base(base), stage.root)
        else:
            _carry_out(stage, name, rest, stages)
    _keep(stage)
    stage.root.rename(directory)
    for one in stages.values():
        shutil.rmtree(one.root, ignore_errors=True)


def _carry_out(stage: Stage, name: str, rest: str, stages: Mapping[str, Stage]) -> None:
    match name:
        case "WORKDIR":
            stage.directory = rest
            (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        case "COPY":
            _bring(stage, rest, stages)
        case "RUN":
            _run_in(stage, rest)
        case "ENV":
            for one in shlex.split(rest):
                key, _, value = one.partition("=")
                stage.environment[key] = value
        case "USER":
            stage.user = rest
        case "ENTRYPOINT" | "CMD":
            setattr(stage, "entrypoint" if name == "ENTRYPOINT" else "command", json.loads(rest))
        case "HEALTHCHECK":
            stage.healthcheck = json.loads(rest.partition(" CMD ")[2])
        case "EXPOSE" | "STOPSIGNAL":
            pass  # for who runs it
        case _:
            raise SystemExit(f"image: {name} is an instruction that this program does not know")


def _bring(stage: Stage, rest: str, stages: Mapping[str, Stage]) -> None:
    words = rest.split()
    *sources, target = [word for word in words if not word.startswith("--")]
    origin = next((stages[word.partition("=")[2]].root for word in words if word.startswith("--from=")), None)
    into = stage.root / os.path.normpath(Path(stage.directory, target)).lstrip("/")
    for source in sources:
        found = (origin or ROOT) / source.lstrip("/")
        if origin is None and _is_ignored(source):
            raise SystemExit(f"image: .dockerignore leaves out {source}, which the Dockerfile copies")
        if found.is_dir():
            shutil.copytree(found, into, symlinks=True, dirs_exist_ok=True, ignore=None if origin else _left_out)
        else:
            into.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, into)


def _left_out(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if _is_ignored(os.path.relpath(Path(folder, name), ROOT))}


def _is_ignored(path: str) -> bool:
    """As Docker has it: the last pattern that fits the path, or a folder above it, counts."""
    ignored = False
    above = [path, *map(str, Path(path).parents)]
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.strip().removeprefix("!")
        if pattern and not pattern.startswith("#") and any(_fits(one, pattern) for one in above):
            ignored = not line.startswith("!")
    return ignored


def _fits(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatch(Path(path).name, pattern[3:])
    return fnmatch.fnmatch(path, pattern) if "/" not in path else path == pattern


def _run_in(stage: Stage, command: str) -> None:
    """By chroot, with this machine's network."""
    borrowed = [one for one in BORROWED if Path(one).exists()]
    handed_on = {name: value for name, value in os.environ.items() if _HANDED_ON.match(name)}
    mounts = [f"mount --rbind {one} {stage.root}{one}" for one in borrowed]
    for one in borrowed:
        place = Path(f"{stage.root}{one}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(exist_ok=True) if Path(one).is_dir() else place.touch()
    inside = shlex.join(["sh", "-ec", f"cd {stage.directory}; {command}"])
    _in_a_namespace(stage.root, [*mounts, *_devices(stage.root)], f"chroot {stage.root} {inside}", {
        **stage.environment, "HOME": "/root", **handed_on,
    })  # fmt: skip


def run(directory: Path, given: Mapping[str, str], command: Sequence[str]) -> int:
    """Returns the exit code."""
    kept = json.loads((directory / CONFIG).read_text("utf-8"))
    user, _, group = kept["user"].partition(":")
    words = list(command) or [*kept["entrypoint"], *kept["command"]]
    mounts = [f"mount --bind {directory} {directory}", *_devices(directory), f"mount -o remount,bind,ro {directory}"]
    privileges = (
        f"setpriv --reuid={user} --regid={group} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all"
    )
    entered = f"exec chroot {directory} {privileges} {shlex.join(words)}"
    return _in_a_namespace(directory, mounts, entered, {**kept["environment"], **given}, check=False)


def _devices(root: Path) -> list[str]:
    """What an engine gives every container: /proc, and devices that read nothing of the machine."""
    for one in DEVICES:
        (root / "dev" / one).touch()
    return [f"mount -t proc proc {root}/proc", *(f"mount --bind /dev/{one} {root}/dev/{one}" for one in DEVICES)]


def _in_a_namespace(
    root: Path, mounts: Sequence[str], command: str, environment: Mapping[str, str], *, check: bool = True
) -> int:
    """Mounts go with it. It ends with us."""
    script = "\n".join(["set -e", *mounts, f"cd {root}", command])
    apart = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--propagation", "private"]
    outside = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    # No variable but PATH among arguments, which every user of the machine can read. The program by its path: that of
    # the image need not lead to it.
    path = shlex.quote(environment.get("PATH", outside))
    inner = script.replace("chroot ", f"env --unset=PWD --unset=OLDPWD PATH={path} {shutil.which('chroot')} ", 1)
    surroundings = {**environment, "PATH": outside}
    done = subprocess.run([*apart, "/bin/sh", "-c", inner], env=surroundings, check=False, timeout=SECONDS_MAX)
    if check and done.returncode:
        raise SystemExit(f"image: this failed with {done.returncode}: {command}")
    return done.returncode


def _base(name: str) -> Path:
    if name not in BASES:
        raise SystemExit(f"image: nothing is known that stands for {name}: see BASES in {Path(__file__).name}")
    release, packages = BASES[name]

    def make(directory: Path) -> None:
        subprocess.run(["apt-get", "download", "mmdebstrap"], cwd=directory, check=True, capture_output=True)
        (package,) = directory.glob("mmdebstrap_*.deb")
        subprocess.run(["dpkg-deb", "-x", package, directory / "tool"], check=True, capture_output=True)
        program = directory / "tool" / "usr" / "bin" / "mmdebstrap"
        wanted = ["--variant=minbase", f"--include={','.join(packages)}", "--mode=root", release]
        made = subprocess.run([program, *wanted, directory / "root"], capture_output=True, text=True, check=False)
        if made.returncode:
            raise SystemExit(f"image: the base could not be made:\n{made.stderr[-2000:]}")

    return built_once(f"base-{name.replace(':', '-')}", make) / "root"


def _copy(base: Path, to: Path) -> None:
    shutil.rmtree(to, ignore_errors=True)
    to.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", base, to], check=True)


def _keep(stage: Stage) -> None:
    found = {name: getattr(stage, name) for name in ("environment", "user", "entrypoint", "command", "healthcheck")}
    (stage.root / CONFIG).write_text(json.dumps(found, indent=1), "utf-8")


def main() -> int:
    match sys.argv[1:]:
        case ["build", directory]:
            build(Path(directory).absolute())
            return 0
        case ["run", directory, *rest] if "--" in rest:
            cut = rest.index("--")
            given = dict(one.partition("=")[::2] if "=" in one else (one, os.environ[one]) for one in rest[:cut])
            return run(Path(directory).absolute(), given, rest[cut + 1 :])
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
