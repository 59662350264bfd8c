"""Start, stop and kill one server, each with its own HOME, data folder and port, and find what it leaves behind."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
from openhands.sdk import RemoteWorkspace, Workspace

from boxes import IN_BOXES, Boxes, describe, is_alive, kill_quietly, options

REPOSITORY = Path(__file__).resolve().parent.parent


def newest_release() -> str:
    """The release binary. A build that names its target puts it one folder deeper."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    built = [path for place in ("release", "*/release") for path in target.glob(f"{place}/longshore")]
    if not built:
        raise FileNotFoundError(
            f"there is no release/longshore below {target}: build it with `cargo build --release --package longshore`, "
            "or set SERVER_COMMAND"
        )
    return shlex.quote(str(max(built, key=lambda path: path.stat().st_mtime)))


COMMAND = os.environ.get("SERVER_COMMAND") or f"{newest_release()} serve --port {{port}} --data-dir {{dir}}"
# The reference is the official server: it proves the tests right, and it fails the tests that describe its defects.
IS_REFERENCE = os.environ.get("SERVER_IS_REFERENCE") == "1"
START_SECONDS = 120


class Server:
    """One server process on a loopback port. The folder outlives restarts; `destroy` removes it."""

    def __init__(
        self, command: str = COMMAND, keys: tuple[str, ...] = ("key-one",), env: dict[str, str] | None = None
    ) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="conformance-")).resolve()
        self.command = command
        self.key = keys[0] if keys else None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.was_killed = False
        self.groups: set[int] = set()
        self.seen: set[psutil.Process] = set()
        for folder in ("home", "data", "cwd", "work"):
            (self.root / folder).mkdir()
        open_to_boxes(self.root / "work")
        self.boxes = Boxes(self.root, self.root / "data")
        self.on_shutdown: str | None = None
        self.env = self.environment(keys) | (env or {})
        headers = {"X-Session-API-Key": self.key} if self.key else {}
        self.api = httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def environment(self, keys: tuple[str, ...]) -> dict[str, str]:
        """Nothing of the caller's environment but what a process needs to run at all."""
        inherited = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "DOCKER_HOST") if name in os.environ}
        numbered = {f"OH_SESSION_API_KEYS_{number}": key for number, key in enumerate(keys)}
        return {
            "LANG": "C.UTF-8",
            **inherited,
            **numbered,
            "HOME": str(self.root / "home"),
            "OH_PERSISTENCE_DIR": str(self.root / "data"),
            "OH_SECRET_KEY": "conformance-secret-key",
            "OH_ENABLE_VSCODE": "0",
            "OPENHANDS_SUPPRESS_BANNER": "1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LOG_JSON": "true",
        }

    @property
    def pid(self) -> int:
        assert self.process, "the server is not running"
        return self.process.pid

    @property
    def log(self) -> str:
        path = self.root / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Server:
        command = self.command_line()
        with open(self.root / "log", "ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.root / "cwd",
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.groups.add(self.process.pid)
        deadline = time.monotonic() + START_SECONDS
        while not self.is_healthy():
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log[-3000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"the server did not answer /health in {START_SECONDS} s:\n{self.log[-3000:]}")
            time.sleep(0.02)
        return self

    def command_line(self) -> list[str]:
        command = split(self.command.format(port=self.port, dir=self.root / "data"))
        if not IS_REFERENCE:
            command += options(self.root / "work")
            command += ["--sandbox-on-shutdown", self.on_shutdown] if self.on_shutdown else []
        return command

    def is_healthy(self) -> bool:
        try:
            return self.api.get("/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, timeout: float = 60) -> float:
        """SIGTERM; returns the seconds it took to exit."""
        if not self.process:
            return 0.0
        self.remember_children()
        began = time.monotonic()
        self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not exit within {timeout} s of SIGTERM") from None
        self.process = None
        return time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL to the server alone: what happens on an out-of-memory kill."""
        if self.process:
            self.remember_children()
            self.was_killed = True
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> Server:
        self.stop()
        return self.start()

    def remember_children(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self.seen.update(psutil.Process(self.pid).children(recursive=True))

    def leftovers(self) -> list[psutil.Process]:
        """Living processes that came from this server: by descent, by process group, or by working below its folder.
        Boxes are to outlive it, with all that runs in them, so they do not count; `destroy` looks at them."""
        own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
        if self.process:
            own.add(self.process.pid)
        found = {process for process in self.seen if process.is_running()}
        for process in psutil.process_iter():
            try:
                if os.getpgid(process.pid) in self.groups or Path(process.cwd()).is_relative_to(self.root):
                    found.add(process)
            except (psutil.Error, OSError):
                continue
        own.update(process.pid for process in self.boxes.processes())
        return [process for process in found if process.pid not in own and is_alive(process)]

    def wait_for_no_leftovers(self, timeout: float = 5) -> list[psutil.Process]:
        """Returns what is still alive when the time is up: empty if all is well."""
        deadline = time.monotonic() + timeout
        while (left := self.leftovers()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def destroy(self) -> None:
        """End everything, and assert that a stopped server leaves no process behind and a last one no box."""
        try:
            self.stop()
            if self.boxes.remains():
                self.end_boxes()
            left = self.wait_for_no_leftovers()
            described = [describe(process) for process in left]
            remains = self.boxes.remains()
            for process in left:
                kill_quietly(process)
        finally:
            self.api.close()
            self.boxes.remove()
            shutil.rmtree(self.root, ignore_errors=True)
        assert not remains, f"boxes left behind: {remains}"
        if not (IS_REFERENCE or self.was_killed):
            assert not described, f"processes left behind: {described}"

    def end_boxes(self) -> None:
        """Boxes outlive a server, however it ends. The next one finds them all, and removes them if it is told to."""
        self.on_shutdown = "destroy"
        self.start()
        self.stop()

    def rss(self) -> int:
        """Resident bytes of the server process itself, without the agents' children."""
        return psutil.Process(self.pid).memory_info().rss

    def folder(self, name: str) -> Path:
        path = self.root / "work" / name
        path.mkdir(parents=True, exist_ok=True)
        return open_to_boxes(path)

    def workspace(self, folder: Path | str, url: str | None = None) -> RemoteWorkspace:
        workspace = Workspace(host=url or self.url, api_key=self.key, working_dir=str(folder))
        assert isinstance(workspace, RemoteWorkspace)
        return workspace


def split(command: str) -> list[str]:
    """The words of a command. A relative path to the program starts at the repository: servers run elsewhere."""
    program, *arguments = shlex.split(command)
    return [str(REPOSITORY / program) if "/" in program else program, *arguments]


def open_to_boxes(folder: Path) -> Path:
    """Lets whoever a box's processes are work in a folder of ours."""
    if IN_BOXES:
        folder.chmod(0o777)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processes_with(text: str) -> list[psutil.Process]:
    """Living processes whose command line contains the text."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                any(text in argument for argument in process.cmdline())
                and process.pid != os.getpid()
                and is_alive(process)
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found
