"""A second client of the same conversation, by constructor and by attach."""

from __future__ import annotations

import uuid

import httpx
import pytest
from openhands.sdk.conversation.impl.remote_conversation import RemoteConversation
from openhands.sdk.conversation.state import ConversationExecutionStatus

from agents import Recorder, Sessions, body_of, kinds, logged_events, wait_for
from mock_model import after, finish, say, terminal
from server import Server


def ids(conversation: RemoteConversation) -> list[str]:
    return [event.id for event in conversation.state.events if getattr(event, "key", "") != "full_state"]


def test_attach_shows_the_history(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(terminal("echo history"), finish("over"))
    first = sessions.open(server, model)
    first.send_message("go")
    first.run()

    second = sessions.attach(server, first.id)
    assert ids(second) == [event["id"] for event in logged_events(server, first.id)]
    assert second.state.execution_status == ConversationExecutionStatus.FINISHED
    assert second.agent.llm.model == first.agent.llm.model


def test_constructor_with_a_known_id_attaches(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(say("one"), say("two"))
    first = sessions.open(server, model)
    first.send_message("go")
    first.run()

    second = sessions.open(server, model, conversation_id=first.id)
    assert second.id == first.id and ids(second) == [event["id"] for event in logged_events(server, first.id)]
    second.send_message("go on")
    second.run()
    assert second.state.execution_status == ConversationExecutionStatus.FINISHED
    assert len(model.requests) == 2


def test_constructor_with_a_new_id_creates_with_it(server: Server, sessions: Sessions) -> None:
    wanted = uuid.uuid4()
    conversation = sessions.open(server, sessions.models.new(say("hi")), conversation_id=wanted)
    assert conversation.id == wanted
    conversation.send_message("go")
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED


def test_attach_to_nothing_is_an_error(server: Server, sessions: Sessions) -> None:
    with pytest.raises(httpx.HTTPStatusError) as error:
        sessions.attach(server, uuid.uuid4())
    assert error.value.response.status_code == 404


def test_both_clients_follow_a_live_run(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(after(0.5, terminal("echo live")), finish())
    here, there = Recorder(), Recorder()
    first = sessions.open(server, model, callbacks=[here])
    second = sessions.attach(server, first.id, [there])
    first.send_message("go")
    first.run()

    wait_for(lambda: len(there.logged()) >= len(here.logged()), "the second client to get every event")
    assert kinds(there.logged()) == kinds(here.logged())
    assert {event.id for event in there.logged()} == {event.id for event in here.logged()}
    assert second.state.execution_status == ConversationExecutionStatus.FINISHED


def test_client_that_attaches_during_a_tool_gets_ready(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(terminal("sleep 3; echo slept"), finish())
    first = sessions.open(server, model)
    first.send_message("go")
    first.run(blocking=False)
    wait_for(lambda: any(event["kind"] == "ActionEvent" for event in logged_events(server, first.id)), "the tool call")
    second = sessions.attach(server, first.id)
    second.run()
    assert second.state.execution_status == ConversationExecutionStatus.FINISHED
    assert set(ids(second)) >= {event["id"] for event in logged_events(server, first.id)}


def test_create_is_idempotent_by_id(server: Server, sessions: Sessions) -> None:
    agent = sessions.agent(sessions.models.new(say("x")))
    wanted = str(uuid.uuid4())
    body = body_of(agent, server.folder("idempotent"), conversation_id=wanted)
    first = server.api.post("/api/conversations", json=body)
    again = server.api.post("/api/conversations", json=body | {"max_iterations": 7})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"] == wanted
    assert again.json()["max_iterations"] == 500
    undashed = server.api.get(f"/api/conversations/{uuid.UUID(wanted).hex}")
    assert undashed.status_code == 200 and undashed.json()["id"] == wanted
