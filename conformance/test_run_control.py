"""Pause, resume, interrupt and messages while the agent works."""

from __future__ import annotations

import threading
import time
import uuid

import pytest
from openhands.sdk.conversation.state import ConversationExecutionStatus

from agents import (
    Sessions,
    events_of,
    logged_events,
    observations,
    status_of,
    text_of,
    wait_for,
    wait_for_action,
    wait_for_status,
)
from mock_model import after, finish, hang, say, terminal
from server import Server, processes_with


@pytest.mark.upstream_defect("W19")
def test_pause_while_the_model_thinks_and_resume(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(after(2, terminal("echo once >> marker")), finish())
    folder = server.folder("pause")
    conversation = sessions.open(server, model, folder=folder)
    conversation.send_message("go")
    conversation.run(blocking=False)
    model.wait_for_requests(1)

    began = time.monotonic()
    conversation.pause()
    wait_for_status(server, conversation.id, "paused")
    assert time.monotonic() - began < 2
    assert len(events_of(server, conversation.id, "PauseEvent")) == 1

    if not model.turns:  # the answer under way was dropped: the model is asked again
        model.extend(finish())
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    actions = events_of(server, conversation.id, "ActionEvent")
    answered = {event.get("action_id") for event in logged_events(server, conversation.id)}
    assert all(action["id"] in answered for action in actions)


def test_pause_ends_a_blocking_run(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(after(1.5, terminal("true")), finish())
    conversation = sessions.open(server, model)
    conversation.send_message("go")
    ended = threading.Event()

    def run() -> None:
        conversation.run(timeout=60)
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    model.wait_for_requests(1)
    conversation.pause()
    assert ended.wait(10), "run() did not return after the pause"
    wait_for(
        lambda: conversation.state.execution_status == ConversationExecutionStatus.PAUSED,
        "the client's state to say paused",
    )


def test_pause_before_the_first_message(server: Server, sessions: Sessions) -> None:
    conversation = sessions.open(server, sessions.models.new(say("fine")))
    conversation.pause()
    assert status_of(server, conversation.id) == "paused"
    conversation.send_message("go")
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED


def test_interrupt_while_the_model_hangs(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(hang(), finish("after all"))
    conversation = sessions.open(server, model)
    conversation.send_message("go")
    conversation.run(blocking=False)
    model.wait_for_requests(1)

    began = time.monotonic()
    conversation.interrupt()
    wait_for_status(server, conversation.id, "paused")
    assert time.monotonic() - began < 2
    assert len(events_of(server, conversation.id, "InterruptEvent")) == 1

    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED


def test_interrupt_while_a_tool_runs(server: Server, sessions: Sessions) -> None:
    mark = f"97.{uuid.uuid4().int % 10**9}"
    model = sessions.models.new(terminal(f"sleep {mark}"), terminal("echo still-usable"), finish())
    conversation = sessions.open(server, model)
    conversation.send_message("go")
    conversation.run(blocking=False)
    action = wait_for_action(server, conversation.id)
    wait_for(lambda: processes_with(mark), "the command to start")

    began = time.monotonic()
    conversation.interrupt()
    wait_for_status(server, conversation.id, "paused")
    assert time.monotonic() - began < 2
    errors = events_of(server, conversation.id, "AgentErrorEvent")
    assert [event["tool_call_id"] for event in errors] == [action["tool_call_id"]]
    assert len(events_of(server, conversation.id, "InterruptEvent")) == 1
    wait_for(lambda: not processes_with(mark), "the interrupted command to end", 10)

    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    assert "still-usable" in text_of(observations(server, conversation.id)[0])


def test_interrupt_ends_a_blocking_run(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(hang())
    conversation = sessions.open(server, model)
    conversation.send_message("go")
    ended = threading.Event()

    def run() -> None:
        conversation.run(timeout=60)
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    model.wait_for_requests(1)
    conversation.interrupt()
    assert ended.wait(10), "run() did not return after the interrupt"


def test_second_run_while_running_is_refused(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(after(1, finish()))
    conversation = sessions.open(server, model)
    conversation.send_message("go")
    conversation.run(blocking=False)
    model.wait_for_requests(1)
    assert server.api.post(f"/api/conversations/{conversation.id}/run").status_code == 409
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    assert len(model.requests) == 1


def test_message_while_the_model_thinks_is_answered_in_the_same_run(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(after(1.5, say("first answer")), say("second answer"))
    conversation = sessions.open(server, model)
    conversation.send_message("one")
    conversation.run(blocking=False)
    model.wait_for_requests(1)
    conversation.send_message("and another thing")
    assert len(model.requests) == 1, "the message waited for the model"
    model.wait_for_requests(2)
    wait_for_status(server, conversation.id, "finished")
    assert "and another thing" in str(model.requests[1]["messages"])


@pytest.mark.upstream_defect("W19")
def test_pause_while_a_tool_runs_acts_at_once(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(terminal("sleep 8; echo slept"), finish())
    conversation = sessions.open(server, model)
    conversation.send_message("go")
    conversation.run(blocking=False)
    wait_for_action(server, conversation.id)
    began = time.monotonic()
    conversation.pause()
    assert status_of(server, conversation.id) == "paused"
    assert time.monotonic() - began < 2
    model.extend(finish())
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED


def test_finished_conversation_does_not_run_again_by_itself(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(finish())
    conversation = sessions.open(server, model)
    conversation.send_message("go")
    conversation.run()
    conversation.run(timeout=60)
    assert status_of(server, conversation.id) == "finished"
    assert len(model.requests) == 1
