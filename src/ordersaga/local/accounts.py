"""Whom a server runs as. PostgreSQL refuses to run as root, so under root it runs as `nobody`.

`nobody` may not see what root sees: neither a home directory of root's nor what lies in it. What such a server needs is
kept in a directory of `shared_directory`, which everyone may enter.
"""

import os
import pwd
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ordersaga.local.failures import LocalError, PartMissing

_NAME = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    uid: int
    gid: int

    def own(self, directory: Path) -> None:
        """Hand over a directory with all in it."""
        for path in (directory, *directory.rglob("*")):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def can_enter(self, directory: Path) -> bool:
        question = ["test", "-x", str(directory)]
        return subprocess.run(question, check=False, timeout=10, cwd="/", **popen_arguments(self)).returncode == 0


class PopenArguments(TypedDict):
    user: int | None
    group: int | None
    extra_groups: list[int] | None


def popen_arguments(account: Account | None) -> PopenArguments:
    """For `subprocess`. None: as ourselves."""
    if account is None:
        return {"user": None, "group": None, "extra_groups": None}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def unprivileged() -> Account | None:
    """None when we are not root and need no other account."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_NAME)
    except KeyError:
        raise PartMissing(f"PostgreSQL refuses to run as root, and there is no user {_NAME!r} to run as") from None
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def shared_directory() -> Path:
    """Survives a reboot, can be entered by everyone, and is written by us alone."""
    lasting = Path("/var/tmp")  # noqa: S108 (the owner is checked below)
    base = lasting if lasting.is_dir() else Path(tempfile.gettempdir())
    directory = base / f"ordersaga-{os.geteuid()}"
    directory.mkdir(mode=0o755, exist_ok=True)
    if directory.stat().st_uid != os.geteuid() or directory.is_symlink():
        raise LocalError(f"{directory} belongs to somebody else: remove it")
    return directory
