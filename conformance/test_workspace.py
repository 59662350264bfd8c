"""The SDK's RemoteWorkspace: commands, files, git, health."""

from __future__ import annotations

import hashlib
import os
import subprocess
import uuid
from pathlib import Path

from openhands.sdk.git.models import GitChangeStatus

from agents import wait_for
from server import Server, processes_with


def git(folder: Path, *arguments: str) -> str:
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b.c",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b.c",
    }
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)} | identity
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, env=env, capture_output=True, text=True
    ).stdout


def repository(folder: Path, files: dict[str, str]) -> Path:
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name, text in files.items():
        (folder / name).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=first")
    return folder


def test_health_and_server_info(server: Server) -> None:
    workspace = server.workspace(server.folder("info"))
    assert workspace.alive
    info = workspace.get_server_info()
    assert info["title"] and info["version"] and info["uptime"] >= 0
    assert server.api.get("/health", headers={"X-Session-API-Key": ""}).json()["status"] == "ok"
    assert server.api.get("/ready").status_code == 200 and server.api.get("/alive").status_code == 200


def test_command_results(server: Server) -> None:
    folder = server.folder("commands")
    workspace = server.workspace(folder)
    result = workspace.execute_command("echo out; echo err >&2; pwd; exit 3", cwd=folder)
    assert (result.exit_code, result.stdout, result.stderr) == (3, f"out\n{folder}\n", "err\n")
    assert workspace.execute_command("true").exit_code == 0
    assert workspace.execute_command("kill -9 $$").exit_code == -9
    assert workspace.execute_command("cat").exit_code == 0, "a command waits for input that cannot come"


def test_command_that_cannot_start(server: Server) -> None:
    result = server.workspace(server.folder("x")).execute_command("true", cwd="/no/such/folder")
    assert result.exit_code == -1 and "No such file or directory" in result.stderr


def test_large_output_arrives_whole_and_in_order(server: Server) -> None:
    result = server.workspace(server.folder("large")).execute_command("seq 1 500000", timeout=60)
    assert result.exit_code == 0
    assert (
        hashlib.sha256(result.stdout.encode()).digest()
        == hashlib.sha256("".join(f"{n}\n" for n in range(1, 500001)).encode()).digest()
    )


def test_command_timeout(server: Server) -> None:
    result = server.workspace(server.folder("slow")).execute_command("sleep 30", timeout=1)
    assert result.exit_code == -1


def test_what_a_command_leaves_running_lives_on(server: Server) -> None:
    mark = f"316.{uuid.uuid4().int % 10**9}"
    workspace = server.workspace(server.folder("background"))
    started = workspace.execute_command(f"nohup sleep {mark} >/dev/null 2>&1 & echo $!")
    assert workspace.execute_command("true").exit_code == 0
    assert processes_with(mark), "it ended with its command"
    assert workspace.execute_command(f"kill {started.stdout}").exit_code == 0
    wait_for(lambda: not processes_with(mark), "it to end")


def test_start_poll_and_stop(server: Server) -> None:
    workspace = server.workspace(server.folder("stop"))
    started = workspace.start_command("sleep 30", timeout=60)
    command_id = started if isinstance(started, str) else started["id"] if isinstance(started, dict) else started.id
    workspace.stop_command(command_id)
    output = workspace.get_command_output(command_id)
    assert output and output["exit_code"] in (-15, -9, 143)
    assert server.api.post("/api/bash/start_bash_command", json={"command": "true", "timeout": 2.5}).status_code == 422


def test_upload_and_download(server: Server, tmp_path: Path) -> None:
    folder = server.folder("files")
    workspace = server.workspace(folder)
    data = os.urandom(5_000_000)
    source, back = tmp_path / "source.bin", tmp_path / "deep" / "back.bin"
    source.write_bytes(data)
    target = folder / "new" / "folders" / "file with spaces ü.bin"

    up = workspace.file_upload(source, target)
    assert up.success and up.file_size == len(data) and target.read_bytes() == data
    down = workspace.file_download(target, back)
    assert down.success and back.read_bytes() == data

    overwritten = workspace.file_upload(b"short", target)
    assert overwritten.success and target.read_bytes() == b"short"


def test_file_errors_say_what_is_wrong(server: Server, tmp_path: Path) -> None:
    folder = server.folder("file-errors")
    workspace = server.workspace(folder)
    assert not workspace.file_upload(b"x", "relative.txt").success
    assert not workspace.file_upload(b"x", folder).success
    assert not workspace.file_download(folder / "missing", tmp_path / "x").success
    cases = {
        "relative": (400, "absolute"),
        str(folder): (400, "not a file"),
        str(folder / "missing"): (404, "File not found"),
    }
    for path, (status, words) in cases.items():
        response = server.api.get("/api/file/download", params={"path": path})
        assert response.status_code == status and words in response.json()["detail"]


def test_download_of_a_range(server: Server) -> None:
    file = server.folder("range") / "digits"
    file.write_text("0123456789")
    response = server.api.get("/api/file/download", params={"path": str(file)}, headers={"Range": "bytes=2-4"})
    assert (response.status_code, response.text) == (206, "234")


def test_git_changes_and_diff(server: Server) -> None:
    folder = repository(
        server.folder("git"), {"kept.txt": "same\n", "edited.txt": "before\nline\n", "removed.txt": "x\n"}
    )
    (folder / "edited.txt").write_text("after\nline\n")
    (folder / "removed.txt").unlink()
    (folder / "added.txt").write_text("new\n")
    workspace = server.workspace(folder)

    changes = {str(change.path): change.status for change in workspace.git_changes(".")}
    assert changes == {
        "edited.txt": GitChangeStatus.UPDATED,
        "removed.txt": GitChangeStatus.DELETED,
        "added.txt": GitChangeStatus.ADDED,
    }
    edited = workspace.git_diff("edited.txt")
    assert (edited.original, edited.modified) == ("before\nline", "after\nline")
    added = workspace.git_diff("added.txt")
    assert (added.original, added.modified) == ("", "new")


def test_git_outside_a_repository(server: Server) -> None:
    assert server.workspace(server.folder("plain")).git_changes(".") == []
