"""Confirmation: the run stops before the tool, running again accepts, rejecting tells the model."""

from __future__ import annotations

from pathlib import Path

from openhands.sdk.conversation.impl.remote_conversation import RemoteConversation
from openhands.sdk.conversation.state import ConversationExecutionStatus
from openhands.sdk.security.confirmation_policy import AlwaysConfirm, NeverConfirm

from agents import Sessions, events_of, status_of, wait_for_status
from mock_model import Turn, calls, finish, say, terminal
from server import Server


def waiting(server: Server, sessions: Sessions, folder: Path, *turns: Turn) -> RemoteConversation:
    """A conversation that has stopped to ask."""
    conversation = sessions.open(server, sessions.models.new(*turns), folder=folder)
    conversation.set_confirmation_policy(AlwaysConfirm())
    conversation.send_message("go")
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.WAITING_FOR_CONFIRMATION
    return conversation


def test_nothing_runs_before_it_is_accepted(server: Server, sessions: Sessions) -> None:
    folder = server.folder("accept")
    conversation = waiting(server, sessions, folder, terminal("echo ran >> marker"), finish())
    assert not (folder / "marker").exists()
    assert len(events_of(server, conversation.id, "ActionEvent")) == 1

    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    assert (folder / "marker").read_text() == "ran\n"


def test_accept_over_http_runs_on(server: Server, sessions: Sessions) -> None:
    folder = server.folder("accept-http")
    conversation = waiting(server, sessions, folder, terminal("echo ran >> marker"), say("done"))
    response = server.api.post(
        f"/api/conversations/{conversation.id}/events/respond_to_confirmation", json={"accept": True}
    )
    assert response.status_code == 200
    wait_for_status(server, conversation.id, "finished")
    assert (folder / "marker").read_text() == "ran\n"


def test_rejected_actions_never_run_and_the_model_learns_why(server: Server, sessions: Sessions) -> None:
    folder = server.folder("reject")
    two = calls(("terminal", {"command": "touch one"}), ("terminal", {"command": "touch two"}))
    conversation = waiting(server, sessions, folder, two, say("understood"))
    conversation.reject_pending_actions("too dangerous")

    assert status_of(server, conversation.id) == "idle"
    rejections = events_of(server, conversation.id, "UserRejectObservation")
    assert [event["rejection_reason"] for event in rejections] == ["too dangerous"] * 2
    assert {event["action_id"] for event in rejections} == {
        event["id"] for event in events_of(server, conversation.id, "ActionEvent")
    }

    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    model = sessions.models.models[conversation.agent.llm.model.removeprefix("openai/")]
    answers = [str(entry["content"]) for entry in model.requests[-1]["messages"] if entry["role"] == "tool"]
    assert len(answers) == 2 and all("too dangerous" in answer for answer in answers)
    assert list(folder.glob("one")) + list(folder.glob("two")) == []


def test_policy_can_be_lifted(server: Server, sessions: Sessions) -> None:
    folder = server.folder("lifted")
    conversation = waiting(server, sessions, folder, terminal("touch first"), terminal("touch second"), finish())
    conversation.set_confirmation_policy(NeverConfirm())
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    assert (folder / "first").exists() and (folder / "second").exists()


def test_answers_without_a_question_change_nothing(server: Server, sessions: Sessions) -> None:
    conversation = sessions.open(server, sessions.models.new(finish()))
    path = f"/api/conversations/{conversation.id}/events/respond_to_confirmation"
    assert server.api.post(path, json={"accept": False}).status_code == 200
    assert events_of(server, conversation.id, "UserRejectObservation") == []
    assert server.api.post(path, json={}).status_code == 422


def test_unknown_policy_is_refused(server: Server, sessions: Sessions) -> None:
    conversation = sessions.open(server, sessions.models.new(finish()))
    response = server.api.post(
        f"/api/conversations/{conversation.id}/confirmation_policy", json={"policy": {"kind": "Bogus"}}
    )
    assert response.status_code == 422 and "Bogus" in response.text
