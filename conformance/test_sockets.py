"""The event socket as other clients use it: replay, authentication, bad frames, messages sent over it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from agents import Sessions, create, logged_events, message, start, wait_for_status
from mock_model import finish, say, terminal
from server import Server


def socket(server: Server, conversation_id: object, query: str = "", key: str | None = "header") -> ClientConnection:
    headers = {"X-Session-API-Key": server.key or ""} if key == "header" else {}
    return connect(
        f"ws://127.0.0.1:{server.port}/sockets/events/{conversation_id}{query}",
        additional_headers=headers,
        max_size=2**20,
    )


def frames(connection: ClientConnection, until: str, timeout: float = 30) -> list[dict[str, Any]]:
    """Read up to and with the first frame whose id or key is `until`."""
    read: list[dict[str, Any]] = []
    while not read or until not in (read[-1].get("id"), read[-1].get("key"), read[-1]["kind"]):
        read.append(json.loads(connection.recv(timeout)))
    return read


def finished(server: Server, sessions: Sessions) -> tuple[str, list[dict[str, Any]]]:
    conversation_id = create(server, sessions.agent(sessions.models.new(terminal("echo x"), finish())))
    start(server, conversation_id)
    wait_for_status(server, conversation_id, "finished")
    return conversation_id, logged_events(server, conversation_id)


def test_first_frame_is_the_full_state(server: Server, sessions: Sessions) -> None:
    conversation_id, _ = finished(server, sessions)
    with socket(server, conversation_id) as connection:
        (first,) = frames(connection, "full_state")
    assert first["kind"] == "ConversationStateUpdateEvent"
    assert first["value"]["id"] == conversation_id and first["value"]["execution_status"] == "finished"
    assert first["value"]["agent"]["kind"] == "Agent" and "model-key" not in json.dumps(first)
    assert first["value"]["workspace"]["working_dir"] and first["value"]["stats"]["usage_to_metrics"]


def test_replay_of_everything(server: Server, sessions: Sessions) -> None:
    conversation_id, stored = finished(server, sessions)
    with socket(server, conversation_id, "?resend_mode=all") as connection:
        replayed = frames(connection, stored[-1]["id"])
    assert replayed[0]["key"] == "full_state"
    assert replayed[1:] == stored


def test_replay_since_a_time(server: Server, sessions: Sessions) -> None:
    conversation_id, stored = finished(server, sessions)
    middle = stored[len(stored) // 2]
    with socket(server, conversation_id, f"?resend_mode=since&after_timestamp={middle['timestamp']}") as connection:
        replayed = frames(connection, stored[-1]["id"])
    expected = [event["id"] for event in stored if event["timestamp"] >= middle["timestamp"]]
    assert [event["id"] for event in replayed[1:]] == expected


def test_message_over_the_socket_runs_the_agent(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(say("heard you"))
    conversation_id = create(server, sessions.agent(model))
    with socket(server, conversation_id) as connection:
        frames(connection, "full_state")
        connection.send(json.dumps({"role": "user", "content": [{"type": "text", "text": "over the socket"}]}))
        kinds = [frame["kind"] for frame in frames(connection, "full_state")]
    assert kinds.count("MessageEvent") == 2
    assert "over the socket" in str(model.requests[0]["messages"])


def test_bad_frames_are_answered_and_the_socket_stays(server: Server, sessions: Sessions) -> None:
    conversation_id, stored = finished(server, sessions)
    with socket(server, conversation_id) as connection:
        frames(connection, "full_state")
        for bad in ("not json", "[]", '{"role": "nobody", "content": []}'):
            connection.send(bad)
            error = frames(connection, "ServerErrorEvent")[-1]
            assert error["code"] and error["detail"]
        connection.send(json.dumps({"type": "auth", "session_api_key": "anything"}))
    assert logged_events(server, conversation_id) == stored, "a bad frame left something in the log"


def test_key_in_the_first_message(server: Server, sessions: Sessions) -> None:
    conversation_id, _ = finished(server, sessions)
    with socket(server, conversation_id, key=None) as connection:
        connection.send(json.dumps({"type": "auth", "session_api_key": server.key}))
        frames(connection, "full_state")
    with socket(server, conversation_id, f"?session_api_key={server.key}", key=None) as connection:
        frames(connection, "full_state")


@pytest.mark.parametrize("first", ['{"type": "auth", "session_api_key": "wrong"}', "nonsense", '{"type": "other"}'])
def test_wrong_first_message_closes_4001(server: Server, sessions: Sessions, first: str) -> None:
    conversation_id, _ = finished(server, sessions)
    with socket(server, conversation_id, key=None) as connection:
        connection.send(first)
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(20)
    assert closed.value.rcvd and closed.value.rcvd.code == 4001


def test_wrong_key_in_the_query_is_refused_at_the_handshake(server: Server, sessions: Sessions) -> None:
    conversation_id, _ = finished(server, sessions)
    with pytest.raises(InvalidStatus) as refused:
        socket(server, conversation_id, "?session_api_key=wrong", key=None)
    assert refused.value.response.status_code == 403


def test_unknown_conversation_closes_4004(server: Server) -> None:
    with socket(server, uuid.uuid4()) as connection, pytest.raises(ConnectionClosed) as closed:
        connection.recv(20)
    assert closed.value.rcvd and closed.value.rcvd.code == 4004


def test_messages_need_the_key(server: Server, sessions: Sessions) -> None:
    conversation_id, stored = finished(server, sessions)
    path = f"/api/conversations/{conversation_id}/events"
    for headers in ({"X-Session-API-Key": "wrong"}, {"X-Session-API-Key": ""}):
        response = server.api.post(path, json=message("let me in"), headers=headers)
        assert (response.status_code, response.json()) == (401, {"detail": "Unauthorized"})
    assert logged_events(server, conversation_id) == stored
