"""Where the server under test works: on this machine or in boxes, and what boxes are when seen from outside.

`SANDBOX` chooses: `local` (the default), `bubblewrap` or `docker`. The tests are the same. A test's folder is at the
same path in a box, so it can look at what an agent has done in it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from docker_cli import BASE, docker

SANDBOX = os.environ.get("SANDBOX", "local")
KINDS = {"local": "local", "bubblewrap": "bubblewrap", "docker": f"docker:{BASE}"}
IN_BOXES = SANDBOX != "local"


def options(folder: Path) -> list[str]:
    """What a server is told so that it works in the kind of box that was chosen, and `folder` is seen there."""
    sandbox = ["--sandbox", KINDS[SANDBOX]]
    return [*sandbox, "--sandbox-volume", f"{folder}:{folder}"] if IN_BOXES else sandbox


class Boxes:
    """The boxes of one server, found without asking it. `root` is the folder that holds all of the server's folders."""

    def __init__(self, root: Path, data: Path) -> None:
        self.root = root
        self.data = data

    @property
    def deployment(self) -> str | None:
        """The name that all its boxes carry."""
        with suppress(FileNotFoundError):
            return (self.data / "deployment").read_text().split()[0]
        return None

    def processes(self, box: str = "") -> list[psutil.Process]:
        """Living processes in all boxes or one, with those that make the box."""
        if not IN_BOXES or not self.deployment:
            return []
        found = self._in_containers(box) if SANDBOX == "docker" else self._below_bubblewrap(box)
        return [process for process in found if is_alive(process)]

    def containers(self, box: str = "") -> list[str]:
        """Ids of the containers that boxes are, if that is what they are."""
        filters = [f"label=longshore.deployment={self.deployment}"] + ([f"label=longshore.box={box}"] if box else [])
        listed = docker("ps", "--all", "--quiet", *(word for one in filters for word in ("--filter", one)))
        return listed.stdout.split()

    def kill(self, box: str) -> None:
        """Ends a box from outside, as somebody who knows nothing of the server would."""
        if SANDBOX == "docker":
            docker("kill", *self.containers(box))
            return
        for process in self.processes(box):
            kill_quietly(process)

    def remains(self) -> list[str]:
        """All that is left of boxes on this machine, in words."""
        if not IN_BOXES or not (name := self.deployment):
            return []
        left = [f"process {describe(process)}" for process in self.processes()]
        if SANDBOX == "docker":
            of_deployment = ("--quiet", "--filter", f"label=longshore.deployment={name}")
            left += [f"container {container}" for container in self.containers()]
            for kind in ("volume", "network"):
                left += [f"{kind} {thing}" for thing in docker(kind, "ls", *of_deployment).stdout.split()]
        left += [f"control group {group}" for group in Path("/sys/fs/cgroup").glob(f"**/longshore-{name}/*/")]
        left += [f"mount {point}" for point in self._mounts()]
        left += [f"loop device {device}" for device in self._loop_devices()]
        folders = [folder for folder in (self.data / "boxes").glob("**/*") if re.fullmatch("[0-9a-f]{32}", folder.name)]
        return left + [f"folder {folder}" for folder in folders]

    def remove(self) -> None:
        """Removes all of that by force, so that a test that failed leaves nothing on this machine."""
        for process in self.processes():
            kill_quietly(process)
        if SANDBOX == "docker" and (name := self.deployment):
            of_deployment = ("--quiet", "--filter", f"label=longshore.deployment={name}")
            for container in self.containers():
                docker("rm", "--force", "--volumes", container, check=False)
            for kind in ("volume", "network"):
                for thing in docker(kind, "ls", *of_deployment).stdout.split():
                    docker(kind, "rm", thing, check=False)
        for point in self._mounts():
            subprocess.run(["umount", "--lazy", point], check=False)

    def _below_bubblewrap(self, box: str) -> Iterator[psutil.Process]:
        """Its two own processes carry the box's name, and all others are below them."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.cmdline()[:1] and process.cmdline()[0].startswith(f"longshore-box:{self.deployment}/{box}"):
                    yield process
                    yield from process.children(recursive=True)

    def _in_containers(self, box: str) -> Iterator[psutil.Process]:
        for container in self.containers(box):
            # One that does not run has none.
            listed = docker("top", container, "-eo", "pid", check=False)
            for pid in listed.stdout.split()[1:] if listed.returncode == 0 else []:
                with suppress(psutil.Error):
                    yield psutil.Process(int(pid))

    def _mounts(self) -> list[str]:
        """Where something is mounted below the folder, or something of it elsewhere."""
        found = []
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            source, point = (text.encode().decode("unicode_escape") for text in line.split()[3:5])
            if any(Path(path).is_relative_to(self.root) for path in (source, point)):
                found.append(point)
        return found[::-1]

    def _loop_devices(self) -> list[str]:
        found = []
        for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
            with suppress(OSError):
                if Path(backing.read_text().strip()).is_relative_to(self.root):
                    found.append(backing.parent.parent.name)
        return found


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())}"
    except psutil.Error:
        return f"{process.pid} (gone)"


def kill_quietly(process: psutil.Process) -> None:
    with suppress(psutil.Error):
        process.kill()
