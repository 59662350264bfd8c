"""Runs that fail: what the client raises, what is logged, and that the conversation can go on."""

from __future__ import annotations

from typing import Any

import pytest
from openhands.sdk.conversation.exceptions import ConversationRunError
from openhands.sdk.conversation.impl.remote_conversation import RemoteConversation
from openhands.sdk.conversation.state import ConversationExecutionStatus

from agents import Sessions, events_of
from mock_model import Turn, call, failure, finish, forever, say, terminal
from server import Server, free_port


def failing(
    server: Server, sessions: Sessions, *turns: Turn, **options: Any
) -> tuple[RemoteConversation, ConversationRunError]:
    conversation = sessions.open(server, sessions.models.new(*turns), **options)
    conversation.send_message("go")
    with pytest.raises(ConversationRunError) as error:
        conversation.run(timeout=120)
    return conversation, error.value


@pytest.mark.parametrize(
    ("status", "text", "code", "kind", "retryable"),
    [
        (401, "bad key", "LLMAuthenticationError", "auth", False),
        (429, "slow down", "LLMRateLimitError", "rate_limit", True),
        (400, "no such parameter", "LLMBadRequestError", "config", False),
        (503, "overloaded", "LLMServiceUnavailableError", "transient", True),
    ],
)
def test_model_failures_have_a_code_and_a_class(
    server: Server, sessions: Sessions, status: int, text: str, code: str, kind: str, retryable: bool
) -> None:
    conversation, error = failing(server, sessions, forever(failure(status, text)))
    assert error.conversation_error and error.conversation_error.code == code
    (logged,) = events_of(server, conversation.id, "ConversationErrorEvent")
    assert logged["code"] == code and logged["detail"]
    assert (logged["classification"]["kind"], logged["classification"]["retryable"]) == (kind, retryable)


def test_next_run_after_an_error_works(server: Server, sessions: Sessions) -> None:
    conversation, _ = failing(server, sessions, failure(401, "bad key"), say("recovered"))
    assert conversation.state.execution_status == ConversationExecutionStatus.ERROR
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED


def test_passing_failures_are_retried(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(failure(429, "slow down"), failure(503, "overloaded"), say("at last"))
    conversation = sessions.open(server, model, llm={"num_retries": 3, "retry_min_wait": 0, "retry_max_wait": 1})
    conversation.send_message("go")
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    assert len(model.requests) == 3


def test_iteration_limit(server: Server, sessions: Sessions) -> None:
    thoughts = [call("think", thought=f"thought {number}") for number in range(5)]
    conversation, error = failing(server, sessions, *thoughts, max_iteration_per_run=2)
    assert error.conversation_error and error.conversation_error.code == "MaxIterationsReached"
    assert len(events_of(server, conversation.id, "ActionEvent")) == 2


def test_agent_that_repeats_itself_is_stuck(server: Server, sessions: Sessions) -> None:
    conversation, error = failing(server, sessions, forever(terminal("echo again")))
    assert "stuck" in str(error)
    assert len(events_of(server, conversation.id, "ActionEvent")) == 4
    model = sessions.models.models[conversation.agent.llm.model.removeprefix("openai/")]
    model.turns[:] = [finish()]
    conversation.send_message("try something else")
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED


def test_stuck_detection_can_be_off(server: Server, sessions: Sessions) -> None:
    again = [call("think", thought="again") for _ in range(8)]
    conversation = sessions.open(server, sessions.models.new(*again, finish()), stuck_detection=False)
    conversation.send_message("go")
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    assert len(events_of(server, conversation.id, "ActionEvent")) == 9


def test_unreachable_model(server: Server, sessions: Sessions) -> None:
    conversation, error = failing(server, sessions, llm={"base_url": f"http://127.0.0.1:{free_port()}/v1"})
    assert error.conversation_error and error.conversation_error.classification.retryable
    assert events_of(server, conversation.id, "ConversationErrorEvent")
