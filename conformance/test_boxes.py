"""A conversation in its user's box: what it sees of the machine, how the box sleeps, and what is told when it dies."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from openhands.sdk.conversation.state import ConversationExecutionStatus
from websockets.sync.client import connect

from agents import (
    Recorder,
    Sessions,
    box_events,
    box_of,
    box_path,
    box_states,
    events_of,
    logged_events,
    observations,
    status_of,
    terminals,
    text_of,
    wait_for,
    wait_for_action,
    wait_for_status,
)
from boxes import IN_BOXES, SANDBOX
from docker_cli import docker
from mock_model import after, finish, terminal
from server import Server, processes_with

Make = Callable[..., Server]
WORKSPACE = Path("/workspace")

pytestmark = pytest.mark.skipif(not IN_BOXES, reason="without isolation there is no box: see SANDBOX in the README")


def test_agent_and_client_work_in_the_same_box(own_server: Make, sessions: Sessions, tmp_path: Path) -> None:
    server = own_server().start()
    secret = server.root / "secret"
    secret.write_text("of the machine")
    look = terminal(f"hostname; pwd; echo made by the agent > report.txt; cat {secret}; ls {server.root}/data")
    conversation = sessions.open(server, sessions.models.new(look, finish()), folder=WORKSPACE)
    workspace = server.workspace(WORKSPACE)

    assert server.api.get(box_path(conversation.id)).status_code == 404, "a box was made that nobody has used"
    conversation.send_message("go")
    conversation.run()

    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    seen = observations(server, conversation.id)[0]
    assert text_of(seen).startswith("box\n/workspace\n"), text_of(seen)
    assert seen["metadata"]["working_dir"] == "/workspace"
    assert seen["exit_code"] != 0 and "of the machine" not in text_of(seen), "the box sees the machine"
    assert not (WORKSPACE / "report.txt").exists()

    result = workspace.execute_command("cat report.txt; pwd", cwd=WORKSPACE)
    assert (result.exit_code, result.stdout) == (0, "made by the agent\n/workspace\n")
    assert workspace.file_download("/workspace/report.txt", tmp_path / "report.txt").success
    assert (tmp_path / "report.txt").read_text() == "made by the agent\n"
    assert workspace.file_upload(b"from the client", "/workspace/up.txt").success
    assert workspace.execute_command("cat up.txt").stdout == "from the client"

    box = box_of(server, conversation.id)
    assert (box["backend"], box["state"], box["working_dir"]) == (SANDBOX, "ready", "/workspace")
    assert box_of(server)["id"] == box["id"], "the client and the conversation are in different boxes"
    events = box_events(server, conversation.id)
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert [event["state"] for event in events if event["kind"] == "state"][-2:] == ["starting", "ready"]
    assert all(event["reason"] for event in events)


def test_all_conversations_of_a_user_share_the_box(server: Server, sessions: Sessions) -> None:
    name = f"shared-{uuid.uuid4().hex[:8]}"
    first = sessions.open(server, sessions.models.new(terminal(f"echo first > /workspace/{name}"), finish()))
    second = sessions.open(server, sessions.models.new(terminal(f"cat /workspace/{name}"), finish()))
    for conversation in (first, second):
        conversation.send_message("go")
        conversation.run()
    assert "first" in text_of(observations(server, second.id)[0])
    assert box_of(server, first.id)["id"] == box_of(server, second.id)["id"]


def test_a_relative_folder_starts_at_the_root_of_the_box(server: Server, sessions: Sessions) -> None:
    conversation = sessions.open(
        server, sessions.models.new(terminal("pwd"), finish()), folder=Path("workspace/project")
    )
    conversation.send_message("go")
    conversation.run()
    assert "/workspace/project" in text_of(observations(server, conversation.id)[0])


def test_the_next_run_wakes_a_box_that_sleeps(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    model = sessions.models.new(terminal("kept=here; echo $$"), finish(), terminal('echo "$kept $$"'), finish())
    recorder = Recorder()
    conversation = sessions.open(server, model, folder=WORKSPACE, callbacks=[recorder])
    conversation.send_message("go")
    conversation.run()
    shell = text_of(observations(server, conversation.id)[0]).split()[0]

    assert server.api.post(f"{box_path(conversation.id)}/pause").status_code == 200
    assert box_of(server, conversation.id)["state"] == "paused"
    if SANDBOX == "docker":
        assert is_paused(server)
    assert status_of(server, conversation.id) == "finished", "a box that sleeps is no business of the conversation's"
    assert server.api.post(f"{box_path(conversation.id)}/pause").status_code == 200, "it sleeps already"

    conversation.send_message("go on")
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    assert text_of(terminals(server, conversation.id)[1]) == f"here {shell}", "the shell is another one"
    assert events_of(server, conversation.id, "AgentErrorEvent") == []
    assert box_states(server, conversation.id)[-2:] == ["paused", "ready"]
    stored = {event["id"] for event in logged_events(server, conversation.id)}
    assert {event.id for event in recorder.logged()} >= stored


def test_every_use_wakes_a_box(server: Server) -> None:
    workspace = server.workspace(WORKSPACE)
    assert workspace.file_upload(b"here", "/workspace/awake.txt").success
    for use in (
        lambda: workspace.execute_command("cat /workspace/awake.txt").stdout,
        lambda: server.api.get("/api/file/download", params={"path": "/workspace/awake.txt"}).text,
        lambda: server.api.post(f"{box_path()}/resume").is_success and "here",
    ):
        assert server.api.post(f"{box_path()}/pause").status_code == 200
        assert use() == "here"
        assert box_of(server)["state"] == "ready"


def test_pause_while_a_tool_runs_halts_it(server: Server, sessions: Sessions) -> None:
    """The box obeys whoever asks. What ran goes on when it is used again, and nothing is told as failed."""
    count = "for i in 1 2 3 4 5 6; do echo $i >> /workspace/count; sleep 0.5; done; echo counted"
    model = sessions.models.new(terminal(f"rm -f /workspace/count; {count}"), finish())
    conversation = sessions.open(server, model, folder=WORKSPACE)
    conversation.send_message("count")
    conversation.run(blocking=False)
    wait_for_action(server, conversation.id)
    workspace = server.workspace(WORKSPACE)
    wait_for(lambda: workspace.execute_command("cat count").stdout, "the first number")
    assert server.api.post(f"{box_path(conversation.id)}/pause").status_code == 200
    assert status_of(server, conversation.id) == "running"
    assert server.api.post(f"{box_path(conversation.id)}/resume").status_code == 200
    wait_for_status(server, conversation.id, "finished")
    assert "counted" in text_of(observations(server, conversation.id)[0])


def test_a_box_that_dies_under_a_tool_is_told_and_replaced(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    mark = f"311.{uuid.uuid4().int % 10**9}"
    model = sessions.models.new(
        terminal(f"echo kept > kept.txt; sleep {mark}"),
        after(0.2, terminal("cat kept.txt; echo more >> kept.txt")),
        finish("one"),
        terminal("cat kept.txt"),
        finish("two"),
    )
    recorder = Recorder()
    conversation = sessions.open(server, model, folder=WORKSPACE, callbacks=[recorder])
    conversation.send_message("go")
    conversation.run(blocking=False)
    wait_for(lambda: processes_with(mark), "the command to run")
    before = logged_events(server, conversation.id)
    lost = box_of(server, conversation.id)["id"]

    server.boxes.kill(lost)
    wait_for_status(server, conversation.id, "finished")
    log = logged_events(server, conversation.id)
    assert log[: len(before)] == before
    first, second = terminals(server, conversation.id)
    assert first["is_error"] and "lost" in first["metadata"]["suffix"], first
    assert "lost" in str(model.requests[1]["messages"][-1]), "the model was not told"
    assert text_of(second) == "kept", "the files went with the box"
    told = [
        event["value"] for event in log if event["kind"] == "ConversationStateUpdateEvent" and event["key"] == "sandbox"
    ]
    assert [value["state"] for value in told] == ["lost", "ready"] and all(value["reason"] for value in told)
    assert "lost" in box_states(server, conversation.id)
    wait_for(lambda: {event.id for event in recorder.logged()} >= {event["id"] for event in log}, "the client to hear")

    conversation.send_message("and now?")
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    assert text_of(terminals(server, conversation.id)[-1]) == "kept\nmore"
    assert box_of(server, conversation.id)["state"] == "ready"
    assert not processes_with(mark)


def test_every_conversation_in_a_box_is_told_of_its_death(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    marks = [f"312.{uuid.uuid4().int % 10**9}" for _ in range(2)]
    conversations = []
    for mark in marks:
        model = sessions.models.new(terminal(f"sleep {mark}"), terminal("echo again"), finish())
        conversations.append(sessions.open(server, model, folder=WORKSPACE))
        conversations[-1].send_message("go")
        conversations[-1].run(blocking=False)
    wait_for(lambda: all(processes_with(mark) for mark in marks), "both commands to run")
    server.boxes.kill(box_of(server)["id"])
    for conversation in conversations:
        wait_for_status(server, conversation.id, "finished")
        lost, again = terminals(server, conversation.id)
        assert lost["is_error"] and text_of(again) == "again"


def test_a_box_that_is_removed_under_a_tool_is_told(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    mark = f"312.{uuid.uuid4().int % 10**9}"
    model = sessions.models.new(terminal(f"touch old; sleep {mark}"), terminal("ls"), finish())
    conversation = sessions.open(server, model, folder=WORKSPACE)
    conversation.send_message("go")
    conversation.run(blocking=False)
    wait_for(lambda: processes_with(mark), "the command to run")
    assert server.api.delete(box_path(conversation.id)).status_code == 200
    wait_for_status(server, conversation.id, "finished")
    lost, anew = terminals(server, conversation.id)
    assert lost["is_error"] and (anew["is_error"], text_of(anew)) == (False, "")


def test_a_box_that_is_killed_asleep_is_started_by_the_next_use(own_server: Make) -> None:
    server = own_server().start()
    workspace = server.workspace(WORKSPACE)
    assert workspace.execute_command("echo kept > kept.txt").exit_code == 0
    box = box_of(server)["id"]
    assert server.api.post(f"{box_path()}/pause").status_code == 200
    server.boxes.kill(box)
    assert workspace.execute_command("cat kept.txt").stdout == "kept\n"
    assert (box_of(server)["id"], box_of(server)["state"]) == (box, "ready") and "lost" in box_states(server)


def test_commands_of_a_client_end_with_their_box(own_server: Make) -> None:
    server = own_server().start()
    workspace = server.workspace(WORKSPACE)
    mark = f"313.{uuid.uuid4().int % 10**9}"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: workspace.execute_command(f"echo begun; sleep {mark}", timeout=200))
        wait_for(lambda: processes_with(mark), "the command to run")
        server.boxes.kill(box_of(server)["id"])
        ended = waiting.result(30)
    assert ended.exit_code == -1 and ended.stderr, ended
    assert workspace.execute_command("echo again").stdout == "again\n"


def test_a_conversation_whose_box_is_gone_stays_readable(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    model = sessions.models.new(terminal("echo before > kept.txt"), finish(), terminal("cat kept.txt"), finish())
    conversation = sessions.open(server, model, folder=WORKSPACE)
    conversation.send_message("go")
    conversation.run()
    server.boxes.kill(box_of(server, conversation.id)["id"])
    wait_for(lambda: box_of(server, conversation.id)["state"] == "lost", "the death to be noticed")

    stored = logged_events(server, conversation.id)
    assert status_of(server, conversation.id) == "finished"
    url = f"ws://127.0.0.1:{server.port}/sockets/events/{conversation.id}?resend_mode=all"
    with connect(url, additional_headers={"X-Session-API-Key": server.key or ""}, max_size=2**20) as connection:
        frames = [json.loads(connection.recv(30)) for _ in range(len(stored) + 1)]
    assert frames[1:] == stored
    assert box_of(server, conversation.id)["state"] == "lost", "reading has started a box"

    again = sessions.attach(server, conversation.id)
    again.send_message("go on")
    again.run()
    assert again.state.execution_status == ConversationExecutionStatus.FINISHED
    assert text_of(terminals(server, conversation.id)[-1]) == "before"


def test_a_box_that_is_removed_is_made_anew(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    workspace = server.workspace(WORKSPACE)
    assert workspace.execute_command("echo old > /workspace/old.txt").exit_code == 0
    old = box_of(server)["id"]
    assert server.api.delete(box_path()).status_code == 200
    assert not server.boxes.remains()
    assert server.api.get(box_path()).status_code == 404

    conversation = sessions.open(server, sessions.models.new(terminal("ls -a"), finish()), folder=WORKSPACE)
    conversation.send_message("go")
    conversation.run()
    assert "old.txt" not in text_of(observations(server, conversation.id)[0])
    assert box_of(server)["id"] != old


@pytest.mark.skipif(SANDBOX != "docker", reason="a container can be removed from outside, other boxes only ended")
def test_a_container_that_somebody_removed_is_made_anew(own_server: Make) -> None:
    server = own_server().start()
    workspace = server.workspace(WORKSPACE)
    assert workspace.execute_command("echo kept > /workspace/kept.txt").exit_code == 0
    (container,) = server.boxes.containers(box_of(server)["id"])
    docker("rm", "--force", container)
    wait_for(lambda: box_of(server)["state"] == "lost", "the death to be noticed")
    assert workspace.execute_command("cat /workspace/kept.txt").stdout == "kept\n"


def is_paused(server: Server) -> bool:
    (container,) = server.boxes.containers()
    return docker("inspect", "--format", "{{.State.Paused}}", container).stdout == "true\n"
