"""The image of the server, and containers made from it with Docker's command line."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from types import TracebackType
from typing import Any

import httpx
import pytest
from openhands.sdk import RemoteWorkspace, Workspace

from docker_cli import BASE, docker, why_no_containers
from server import COMMAND, IS_REFERENCE, REPOSITORY, START_SECONDS, split

OPEN_TO_ALL = ("--host", "0.0.0.0", "--port", "8000")


def need_engine() -> None:
    """Skips the test where containers cannot be made, or fails if the caller has said that they can."""
    if IS_REFERENCE:
        pytest.skip("the image is of our server, not of the reference")
    if not (problem := why_no_containers()):
        return
    message = f"{problem}; to get both: scripts/engine start, scripts/engine images"
    if os.environ.get("LONGSHORE_REQUIRE_DOCKER") == "1":
        pytest.fail(message)
    pytest.skip(message)


def build_image(base: str = BASE, *options: str) -> str:
    """Builds the image from the program under test; its name is new, so that runs side by side do not meet."""
    tag = f"longshore-test/agent-server:{uuid.uuid4().hex[:12]}"
    script = REPOSITORY / "scripts" / "image"
    command = [str(script), "--tag", tag, "--base", base, "--binary", split(COMMAND)[0], *options]
    built = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stderr
    assert built.stdout == f"{tag}\n"
    return tag


def containers_of(image: str) -> list[str]:
    """Ids of all containers of the image, also of those that have ended."""
    return docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"ancestor={image}").stdout.split()


def remove_image(image: str) -> None:
    """Removes the image; asserts that the tests left no container of it."""
    left = containers_of(image)
    for container in left:
        docker("rm", "--force", "--volumes", container, check=False)
    docker("rmi", "--force", image)
    assert not left, f"containers left behind: {left}"


def gateway() -> str:
    """The address under which containers reach this machine."""
    networks = json.loads(docker("network", "inspect", "bridge").stdout)
    addresses = [config["Gateway"] for config in networks[0]["IPAM"]["Config"]]
    return next(address for address in addresses if ":" not in address)


class Container:
    """A running container, with the server's port published on loopback. It is gone at the end of its `with` block."""

    def __init__(
        self,
        image: str,
        *options: str,
        arguments: tuple[str, ...] = OPEN_TO_ALL,
        port: int = 8000,
        key: str | None = None,
    ) -> None:
        self.port = port
        self.key = key
        place = ("--name", f"longshore-test-{uuid.uuid4().hex[:12]}", "--publish", f"127.0.0.1::{port}")
        self.id = docker("run", "--detach", *place, *options, image, *arguments).stdout.strip()
        self.api = httpx.Client(headers={"X-Session-API-Key": key} if key else {}, timeout=60)

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.api.close()
        docker("rm", "--force", "--volumes", self.id)

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(docker("inspect", self.id).stdout)[0]["State"]

    @property
    def log(self) -> str:
        said = docker("logs", self.id)
        return said.stdout + said.stderr

    @property
    def url(self) -> str:
        published = docker("port", self.id, str(self.port), check=False).stdout.split()
        assert published, f"the container ended with {self.state['ExitCode']}:\n{self.log}"
        return f"http://{published[0]}"

    def healthy(self) -> Container:
        """Waits until the server answers from outside of the container."""
        self.api.base_url = self.url
        deadline = time.monotonic() + START_SECONDS
        while not self.is_healthy():
            assert self.state["Running"], f"the container ended with {self.state['ExitCode']}:\n{self.log}"
            assert time.monotonic() < deadline, f"no answer from {self.url}/health:\n{self.log}"
            time.sleep(0.05)
        return self

    def is_healthy(self) -> bool:
        try:
            return self.api.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    def workspace(self, folder: str = "/workspace") -> RemoteWorkspace:
        workspace = Workspace(host=self.url, api_key=self.key, working_dir=folder)
        assert isinstance(workspace, RemoteWorkspace)
        return workspace

    def shell(self, script: str) -> str:
        """What a shell in the container prints: beside the server, as the same user."""
        return docker("exec", self.id, "bash", "-c", script).stdout

    def stop(self, grace: int = 10) -> int:
        """SIGTERM, and SIGKILL after `grace` seconds; returns the exit code, which is 137 if it came to that."""
        docker("stop", "--time", str(grace), self.id)
        return self.state["ExitCode"]
