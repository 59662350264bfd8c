"""Boxes outlive the server: what is in them after a stop, after a kill, and when the operator wants it otherwise."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from openhands.sdk.conversation.state import ConversationExecutionStatus

from agents import (
    Sessions,
    body_of,
    box_of,
    box_states,
    events_of,
    start,
    terminals,
    text_of,
    wait_for,
    wait_for_action,
    wait_for_status,
)
from boxes import IN_BOXES
from mock_model import finish, terminal
from server import Server, processes_with

Make = Callable[..., Server]
WORKSPACE = Path("/workspace")

pytestmark = pytest.mark.skipif(not IN_BOXES, reason="without isolation everything ends with the server")


def fresh_mark() -> str:
    """An argument of `sleep` that no other process has."""
    return f"314.{uuid.uuid4().int % 10**9}"


def end(server: Server, how: str) -> None:
    server.kill() if how == "kill" else server.stop()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_files_and_background_processes_are_still_there(own_server: Make, sessions: Sessions, how: str) -> None:
    server = own_server().start()
    mark = fresh_mark()
    # One that is safe from the end of its terminal, one that is not, and one that is left running in front of it.
    leave = f"echo kept > kept.txt; nohup sleep {mark} >/dev/null 2>&1 & sleep {mark} & echo $!"
    look = f"cat kept.txt; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep {mark}' | wc -l"
    model = sessions.models.new(
        terminal(leave), terminal(f"sleep {mark}", timeout=1), finish(), terminal(look), finish()
    )
    conversation = sessions.open(server, model, folder=WORKSPACE)
    conversation.send_message("go")
    conversation.run()
    box, before = box_of(server, conversation.id), processes_with(mark)
    assert len(before) == 3

    end(server, how)
    assert processes_with(mark) == before, "what the agent left running ended with the server"
    server.start()
    found = box_of(server, conversation.id)
    assert (found["id"], found["state"], found["created_at"]) == (box["id"], "ready", box["created_at"])
    assert server.workspace(WORKSPACE).execute_command("cat kept.txt").stdout == "kept\n"

    again = sessions.attach(server, conversation.id)
    again.send_message("go on")
    again.run()
    assert again.state.execution_status == ConversationExecutionStatus.FINISHED
    assert text_of(terminals(server, conversation.id)[2]).splitlines()[0] == "kept"
    assert processes_with(mark) == before
    assert "lost" not in box_states(server, conversation.id)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_box_of_a_conversations_own_is_found_again(own_server: Make, sessions: Sessions, how: str) -> None:
    server = own_server().start()
    model = sessions.models.new(terminal("echo kept > kept.txt"), finish(), terminal("cat kept.txt"), finish())
    body = body_of(sessions.agent(model), WORKSPACE)
    body["workspace"]["sandbox"] = {"resource_limits": {"pids": 100}}
    conversation_id = server.api.post("/api/conversations", json=body).json()["id"]
    start(server, conversation_id)
    wait_for_status(server, conversation_id, "finished")
    box = box_of(server, conversation_id)

    end(server, how)
    server.start()
    found = box_of(server, conversation_id)
    assert (found["id"], found["state"], found["options"]) == (box["id"], "ready", box["options"])
    start(server, conversation_id, "go on")
    wait_for_status(server, conversation_id, "finished")
    assert text_of(terminals(server, conversation_id)[1]) == "kept"


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_box_that_sleeps_sleeps_on(own_server: Make, how: str) -> None:
    server = own_server().start()
    mark = fresh_mark()
    workspace = server.workspace(WORKSPACE)
    assert workspace.execute_command(f"nohup sleep {mark} >/dev/null 2>&1 &").exit_code == 0
    assert processes_with(mark)
    assert server.api.post("/api/sandbox/pause").status_code == 200
    end(server, how)
    server.start()
    assert box_of(server)["state"] == "paused"
    assert workspace.execute_command("echo awake").stdout == "awake\n"
    assert box_of(server)["state"] == "ready" and processes_with(mark)


def test_a_box_that_ended_while_no_server_ran_is_told_and_started(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    model = sessions.models.new(terminal("echo kept > kept.txt"), finish(), terminal("cat kept.txt"), finish())
    conversation = sessions.open(server, model, folder=WORKSPACE)
    conversation.send_message("go")
    conversation.run()
    box = box_of(server)["id"]
    server.stop()
    server.boxes.kill(box)
    wait_for(lambda: not server.boxes.processes(box), "the box to end")
    server.start()
    assert box_of(server)["state"] == "lost" and "not running" in box_of(server)["reason"]
    again = sessions.attach(server, conversation.id)
    again.send_message("go on")
    again.run()
    assert text_of(terminals(server, conversation.id)[1]) == "kept"
    assert box_of(server)["id"] == box


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_server_that_ends_while_it_makes_a_box_leaves_none_unknown(
    own_server: Make, sessions: Sessions, how: str
) -> None:
    """The wish is stored before the box is made, so that the next server finds whatever there is."""
    server = own_server().start()
    model = sessions.models.new(terminal("echo one"), terminal("echo two"), finish())
    conversation = sessions.open(server, model, folder=WORKSPACE)
    conversation.send_message("go")
    conversation.run(blocking=False)
    wait_for_action(server, conversation.id)
    end(server, how)
    server.start()
    assert wait_for_status(server, conversation.id, "error", "paused") == ("error" if how == "kill" else "paused")
    again = sessions.attach(server, conversation.id)
    again.run(timeout=90)
    assert again.state.execution_status == ConversationExecutionStatus.FINISHED
    assert text_of(terminals(server, conversation.id)[-1]) == "two"
    assert events_of(server, conversation.id, "AgentErrorEvent")


def test_stopped_boxes_keep_their_files_alone(own_server: Make) -> None:
    server = own_server()
    server.on_shutdown = "stop"
    server.start()
    mark = fresh_mark()
    workspace = server.workspace(WORKSPACE)
    assert workspace.execute_command(f"echo kept > kept.txt; nohup sleep {mark} >/dev/null 2>&1 &").exit_code == 0
    assert processes_with(mark)
    box = box_of(server)["id"]
    server.stop()
    assert not processes_with(mark) and not server.boxes.processes()
    server.start()
    assert box_of(server)["state"] == "stopped"
    assert workspace.execute_command("cat kept.txt").stdout == "kept\n"
    assert (box_of(server)["id"], box_of(server)["state"]) == (box, "ready")


def test_destroyed_boxes_leave_nothing(own_server: Make, sessions: Sessions) -> None:
    server = own_server()
    server.on_shutdown = "destroy"
    server.start()
    workspace = server.workspace(WORKSPACE)
    assert workspace.execute_command("echo gone > gone.txt").exit_code == 0
    conversation = sessions.open(server, sessions.models.new(terminal("ls"), finish()), folder=WORKSPACE)
    assert server.boxes.remains()
    server.stop()
    assert server.boxes.remains() == []
    server.start()
    conversation.send_message("go")
    conversation.run()
    assert text_of(terminals(server, conversation.id)[0]) == ""
