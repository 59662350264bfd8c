"""What survives a restart, a stop in the middle and a kill in the middle."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from openhands.sdk.conversation.state import ConversationExecutionStatus

from agents import Sessions, create, events_of, logged_events, start, wait_for, wait_for_action, wait_for_status
from mock_model import after, finish, hang, say, terminal
from server import Server, processes_with

Make = Callable[..., Server]


def test_history_survives_and_the_conversation_goes_on(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    model = sessions.models.new(terminal("echo before"), finish("one"), terminal("echo later"), finish("two"))
    first = sessions.open(server, model, tags={"team": "blue"})
    first.send_message("go")
    first.run()
    first.set_title("Kept title")
    stored = logged_events(server, first.id)
    info = server.api.get(f"/api/conversations/{first.id}").json()

    server.restart()
    assert logged_events(server, first.id) == stored
    again = server.api.get(f"/api/conversations/{first.id}").json()
    for field in ("title", "tags", "execution_status", "created_at", "max_iterations", "workspace", "stats"):
        assert again[field] == info[field], field

    second = sessions.attach(server, first.id)
    assert [event.id for event in second.state.events if getattr(event, "key", "") != "full_state"] == [
        event["id"] for event in stored
    ]
    second.send_message("more")
    second.run()
    assert second.state.execution_status == ConversationExecutionStatus.FINISHED
    assert logged_events(server, first.id)[: len(stored)] == stored
    assert "before" in str(model.requests[-1]["messages"]), "the model lost the history"


def test_open_client_survives_a_restart(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    model = sessions.models.new(say("one"), say("two"))
    conversation = sessions.open(server, model)
    conversation.send_message("go")
    conversation.run()
    server.restart()
    conversation.send_message("go on")
    conversation.run(timeout=90)
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    stored = {event["id"] for event in logged_events(server, conversation.id)}
    assert stored <= {event.id for event in conversation.state.events}


def test_stop_while_the_model_thinks_leaves_it_paused(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    model = sessions.models.new(hang(), finish())
    conversation_id = create(server, sessions.agent(model))
    start(server, conversation_id)
    model.wait_for_requests(1)

    server.restart()
    assert wait_for_status(server, conversation_id, "paused") == "paused"
    assert events_of(server, conversation_id, "PauseEvent")
    assert server.api.post(f"/api/conversations/{conversation_id}/run").status_code == 200
    wait_for_status(server, conversation_id, "finished")


@pytest.mark.upstream_defect("W19")
def test_stop_while_a_tool_runs_is_quick_and_leaves_it_paused(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    mark = f"20.{uuid.uuid4().int % 10**9}"
    model = sessions.models.new(terminal(f"sleep {mark}; echo slept"), finish())
    conversation_id = create(server, sessions.agent(model))
    start(server, conversation_id)
    wait_for(lambda: processes_with(mark), "the command to run")

    assert server.stop() < 2
    assert not server.wait_for_no_leftovers()
    wait_for(lambda: not processes_with(mark), "the command to end", 5)
    server.start()
    assert wait_for_status(server, conversation_id, "paused") == "paused"
    answered = {
        event.get("tool_call_id") for event in logged_events(server, conversation_id) if event["kind"] != "ActionEvent"
    }
    assert events_of(server, conversation_id, "ActionEvent")[0]["tool_call_id"] in answered
    assert server.api.post(f"/api/conversations/{conversation_id}/run").status_code == 200
    wait_for_status(server, conversation_id, "finished")


def test_kill_during_a_tool_is_told_and_the_next_run_works(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    model = sessions.models.new(terminal("sleep 60"), terminal("echo recovered"), finish())
    conversation = sessions.open(server, model)
    conversation.send_message("go")
    conversation.run(blocking=False)
    action = wait_for_action(server, conversation.id)
    before = logged_events(server, conversation.id)

    server.kill()
    server.start()
    assert wait_for_status(server, conversation.id, "error") == "error"
    after_restart = logged_events(server, conversation.id)
    assert after_restart[: len(before)] == before, "events were lost or changed"
    (error,) = [event for event in after_restart if event["kind"] == "AgentErrorEvent"]
    assert error["tool_call_id"] == action["tool_call_id"] and "restart" in error["error"].lower()
    assert error["classification"]["kind"] == "internal" and error["classification"]["retryable"] is False

    second = sessions.attach(server, conversation.id)
    second.run(timeout=90)
    assert second.state.execution_status == ConversationExecutionStatus.FINISHED
    assert [entry["role"] for entry in model.requests[1]["messages"][-2:]] == ["assistant", "tool"]


def test_kill_while_the_model_thinks(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    model = sessions.models.new(after(30, say("too late")), say("fresh"))
    conversation_id = create(server, sessions.agent(model))
    start(server, conversation_id)
    model.wait_for_requests(1)
    server.kill()
    server.start()
    assert wait_for_status(server, conversation_id, "error") == "error"
    assert events_of(server, conversation_id, "AgentErrorEvent") == []
    assert server.api.post(f"/api/conversations/{conversation_id}/run").status_code == 200
    wait_for_status(server, conversation_id, "finished")


def test_kill_right_after_an_answer_loses_nothing(own_server: Make, sessions: Sessions) -> None:
    """What the server has acknowledged is on disk."""
    server = own_server().start()
    conversation_id = create(server, sessions.agent(sessions.models.new()))
    for number in range(20):
        path = f"/api/conversations/{conversation_id}/events"
        body = {"role": "user", "content": [{"type": "text", "text": f"message {number}"}]}
        assert server.api.post(path, json=body).status_code == 200
    server.kill()
    server.start()
    texts = [event["llm_message"]["content"][0]["text"] for event in events_of(server, conversation_id, "MessageEvent")]
    assert texts == [f"message {number}" for number in range(20)]
