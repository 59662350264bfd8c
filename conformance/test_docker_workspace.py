"""The official DockerWorkspace on our image, and what clients expect of a server image, one thing after the other."""

from __future__ import annotations

import platform
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openhands.sdk import Conversation
from openhands.sdk.conversation.state import ConversationExecutionStatus
from openhands.workspace import DockerWorkspace

from agents import Recorder, Sessions, kinds, text_of, wait_for
from containers import Container, build_image, containers_of, gateway, need_engine, remove_image
from docker_cli import docker
from mock_model import MockModels, after, finish, terminal
from server import free_port

OFFICIAL_PROGRAM = "/usr/local/bin/openhands-agent-server"
SOURCE_FLAVOUR = "/agent-server/.venv/bin/python"
KEYS = ("OH_SESSION_API_KEYS_0", "SESSION_API_KEY")
STATE = "/workspace/conversations"


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    need_engine()
    built = build_image()
    yield built
    remove_image(built)


@pytest.fixture(scope="module")
def models(image: str) -> Iterator[MockModels]:
    """The scripted models where containers reach them: this machine's address on their network."""
    mock = MockModels(gateway())
    yield mock
    mock.stop()


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official client hands these on to its containers."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


def detect_platform() -> str:
    return "linux/arm64" if platform.machine().lower() in ("arm64", "aarch64") else "linux/amd64"


@pytest.mark.parametrize("key", [None, *KEYS], ids=str)
def test_official_script(
    image: str, sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    if key:
        monkeypatch.setenv(key, "a-key")
    model = sessions.models.new(terminal("pwd; id -un; echo hello > greeting.txt"), finish("written"))
    recorder = Recorder()

    with DockerWorkspace(server_image=image, host_port=free_port(), platform=detect_platform()) as workspace:
        result = workspace.execute_command("echo 'Hello from the box' && pwd", cwd="/workspace", timeout=30)
        assert (result.exit_code, result.stdout) == (0, "Hello from the box\n/workspace\n")

        conversation = Conversation(
            agent=sessions.agent(model), workspace=workspace, callbacks=[recorder], visualizer=None
        )
        try:
            conversation.send_message("Write a greeting.")
            conversation.run()
            assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
            step = ["ActionEvent", "ObservationEvent"]
            assert kinds(recorder.logged()) == ["SystemPromptEvent", "MessageEvent", *step, *step]
            seen = next(event for event in recorder.events if type(event).__name__ == "ObservationEvent")
            assert "/workspace\nopenhands" in text_of(seen.observation.model_dump())

            up, down = tmp_path / "up.bin", tmp_path / "down.bin"
            up.write_bytes(bytes(range(256)) * 4096)
            assert workspace.file_upload(up, "/workspace/project/up.bin").success
            assert workspace.file_download("/workspace/project/up.bin", down).success
            assert down.read_bytes() == up.read_bytes()
            assert workspace.file_download("/workspace/greeting.txt", tmp_path / "greeting.txt").success
            assert (tmp_path / "greeting.txt").read_text() == "hello\n"

            # Frozen while the model thinks; the run is taken up where it was.
            model.extend(after(1, terminal("cat greeting.txt")), finish("read"))
            conversation.send_message("Read it again.")
            conversation.run(blocking=False)
            model.wait_for_requests(3)
            workspace.pause()
            (container,) = containers_of(image)
            assert docker("inspect", "--format", "{{.State.Paused}}", container).stdout == "true\n"
            workspace.resume()
            assert workspace.alive
            model.wait_for_requests(4)
            wait_for(
                lambda: conversation.state.execution_status == ConversationExecutionStatus.FINISHED, "the run to end"
            )

            # And a run that begins after it.
            model.extend(terminal("cat greeting.txt up.bin | wc -c", timeout=30), finish("counted"))
            conversation.send_message("Count.")
            conversation.run()
            assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
            assert len(model.requests) == 6
            assert "hello" in str(model.requests[3]["messages"][-1])
        finally:
            conversation.close()

    wait_for(lambda: not containers_of(image), "the container to be gone")


def test_contents(image: str) -> None:
    with Container(image) as container:
        container.healthy()
        facts = container.shell("id -un; id -u; id -g; pwd; cat /proc/1/comm").split()
        assert facts == ["openhands", "10001", "10001", "/", "tini"]
        container.shell(f"command -v git tmux curl && test -s /etc/ssl/certs/ca-certificates.crt && ls {STATE}")
        assert container.shell("longshore --version").startswith("longshore ")
        container.shell("touch /workspace/a /workspace/project/b ~/c")
        # What a command leaves behind is adopted by the init, and must not stay as a zombie.
        orphan = container.shell("(sleep 0.1 >/dev/null & echo $!)").strip()
        wait_for(lambda: container.shell(f"test -e /proc/{orphan} || echo gone"), "the orphan to be reaped")


@pytest.mark.parametrize(
    "options",
    [
        ("--user", "12345:12345"),
        ("--user", "0:0"),
        ("--read-only", "--tmpfs", "/tmp", "--tmpfs", "/workspace"),
        (
            *("--user", "12345:12345", "--read-only", "--tmpfs", "/tmp", "--tmpfs", "/workspace"),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        ),
    ],
    ids=["arbitrary user", "root", "read-only root", "all together"],
)
def test_works_whoever_it_runs_as_and_however_little_it_may_write(
    image: str, sessions: Sessions, options: tuple[str, ...]
) -> None:
    model = sessions.models.new(terminal("git init --quiet . && git status --short && id -u"), finish())
    with Container(image, *options) as container:
        workspace = container.healthy().workspace("/workspace/project")
        conversation = sessions.keep(
            Conversation(agent=sessions.agent(model), workspace=workspace, visualizer=None, delete_on_close=False)
        )
        conversation.send_message("go")
        conversation.run()
        assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
        seen = [event for event in conversation.state.events if type(event).__name__ == "ObservationEvent"]
        assert seen[0].observation.exit_code == 0, text_of(seen[0].observation.model_dump())
        result = workspace.execute_command("touch /workspace/x /workspace/project/y && echo done")
        assert (result.exit_code, result.stdout) == (0, "done\n"), result.stderr
        assert container.shell(f"ls {STATE}")
        assert container.stop() == 0


def test_a_user_without_an_entry_has_a_home(image: str) -> None:
    with Container(image, "--user", "12345:12345") as container:
        workspace = container.healthy().workspace()
        result = workspace.execute_command("git config --global user.name Somebody && cd && pwd")
        assert (result.exit_code, result.stdout) == (0, "/home/openhands\n"), result.stderr


@pytest.mark.parametrize("command", [None, "trap '' TERM; sleep 600"], ids=["idle", "while a command runs"])
def test_sigterm_ends_it_in_time(image: str, command: str | None) -> None:
    """Apptainer and the official examples kill after 5 s, Docker after 10 s."""
    with Container(image) as container:
        workspace = container.healthy().workspace()
        if command:
            workspace.start_command(command, timeout=600)
        assert container.stop(grace=5) == 0


@pytest.mark.parametrize("name", KEYS)
def test_key_from_the_environment(image: str, name: str) -> None:
    with Container(image, "--env", f"{name}=a-key", key="a-key") as container:
        container.healthy()
        assert container.api.get("/api/conversations/count").status_code == 200
        assert httpx.get(f"{container.url}/api/conversations/count").status_code == 401
        assert httpx.get(f"{container.url}/health").status_code == 200
        assert "no session key" not in container.log


def test_no_key_on_an_open_address_is_a_warning(image: str) -> None:
    with Container(image) as container:
        container.healthy()
        assert container.api.get("/api/conversations/count").json() == 0
        assert "no session key is set" in container.log


def test_official_program_without_a_host(image: str) -> None:
    program = ("--entrypoint", OFFICIAL_PROGRAM)
    with Container(
        image, *program, "--env", "SESSION_API_KEY=a-key", arguments=("--port", "60000"), port=60000, key="a-key"
    ) as container:
        container.healthy()
        assert container.api.get("/api/conversations/count").json() == 0


def test_without_a_host_and_a_key_only_the_container_reaches_it(image: str) -> None:
    with Container(image, arguments=("--port", "60000"), port=60000) as container:
        inside = ("exec", container.id, "curl", "--fail", "http://127.0.0.1:60000/health")
        wait_for(lambda: docker(*inside, check=False).returncode == 0, "an answer inside")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{container.url}/health")


def test_official_flags(image: str) -> None:
    flags = ("--reload", "--import-modules", "a,b", "--extra-python-path", "/a:/b")
    with Container(image, arguments=("--host", "0.0.0.0", "--port", "8000", *flags)) as container:
        container.healthy()
    browser = docker("run", "--rm", image, "--check-browser", check=False)
    assert browser.returncode == 1 and "browser" in browser.stdout + browser.stderr


def test_source_flavour(image: str) -> None:
    shim = ("--entrypoint", SOURCE_FLAVOUR)
    arguments = ("-m", "openhands.agent_server", "--host", "0.0.0.0", "--port", "60000")
    with Container(image, *shim, arguments=arguments, port=60000) as container:
        container.healthy()
        assert container.stop() == 0
    other = docker("run", "--rm", *shim, image, "-c", "print(1)", check=False)
    assert other.returncode == 2 and "no Python" in other.stderr


def test_a_complete_base_needs_no_network(image: str) -> None:
    again = build_image(image, "--", "--network", "none", "--no-cache")
    try:
        with Container(again) as container:
            container.healthy()
    finally:
        remove_image(again)


def test_conversations_outlive_a_container_on_a_volume(image: str, sessions: Sessions) -> None:
    volume = f"longshore-test-{uuid.uuid4().hex[:12]}"
    docker("volume", "create", volume)
    try:
        model = sessions.models.new(terminal("echo kept > kept.txt"), finish())
        with Container(image, "--volume", f"{volume}:/workspace") as container:
            workspace = container.healthy().workspace()
            conversation = Conversation(
                agent=sessions.agent(model), workspace=workspace, visualizer=None, delete_on_close=False
            )
            sessions.keep(conversation).send_message("go")
            conversation.run()
            path = f"/api/conversations/{conversation.id}"
            events = container.api.get(f"{path}/events/count").json()
            assert container.stop() == 0
        with Container(image, "--volume", f"{volume}:/workspace") as container:
            container.healthy()
            assert container.api.get(path).json()["execution_status"] == "finished"
            assert container.api.get(f"{path}/events/count").json() == events
            assert container.shell("cat /workspace/kept.txt") == "kept\n"
    finally:
        docker("volume", "rm", "--force", volume)
