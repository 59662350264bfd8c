"""Secrets: usable in the terminal, hidden everywhere a reader looks."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable

from openhands.sdk.secret import StaticSecret
from pydantic import SecretStr

from agents import Recorder, Sessions, logged_events, observations, text_of
from mock_model import finish, terminal
from server import Server


def fresh_value() -> str:
    return f"s3cr3t-{uuid.uuid4().hex}"


def test_secret_reaches_the_command_and_is_hidden_in_events(server: Server, sessions: Sessions) -> None:
    value = fresh_value()
    show = terminal('echo "it is $DEPLOY_TOKEN."; printf %s "$DEPLOY_TOKEN" | sha256sum')
    model = sessions.models.new(show, finish())
    recorder = Recorder()
    conversation = sessions.open(server, model, callbacks=[recorder])
    conversation.update_secrets({"DEPLOY_TOKEN": value})
    conversation.send_message("deploy")
    conversation.run()

    text = text_of(observations(server, conversation.id)[0])
    assert "it is <secret-hidden>." in text
    assert hashlib.sha256(value.encode()).hexdigest() in text, "the command did not get the secret"
    assert value not in json.dumps(logged_events(server, conversation.id))
    assert all(value not in event.model_dump_json() for event in recorder.events)
    assert value not in json.dumps(model.requests), "the model saw the secret"
    assert value not in server.api.get(f"/api/conversations/{conversation.id}").text
    assert value not in server.log


def test_secrets_given_at_creation(server: Server, sessions: Sessions) -> None:
    value = fresh_value()
    model = sessions.models.new(terminal('printf %s "$FIRST" | sha256sum'), finish())
    secrets = {"FIRST": StaticSecret(value=SecretStr(value), description="for the test")}
    conversation = sessions.open(server, model, secrets=secrets)
    conversation.send_message("go")
    conversation.run()
    assert hashlib.sha256(value.encode()).hexdigest() in text_of(observations(server, conversation.id)[0])


def test_secret_can_be_replaced(server: Server, sessions: Sessions) -> None:
    old, new = fresh_value(), fresh_value()
    check = terminal('printf %s "$ROTATED" | sha256sum')
    model = sessions.models.new(check, finish(), terminal('printf %s "$ROTATED" | sha256sum; echo done'), finish())
    conversation = sessions.open(server, model)
    for value in (old, new):
        conversation.update_secrets({"ROTATED": value})
        conversation.send_message("go")
        conversation.run()
    seen = [
        text_of(observation)
        for observation in observations(server, conversation.id)
        if observation["kind"] == "TerminalObservation"
    ]
    assert hashlib.sha256(old.encode()).hexdigest() in seen[0] and hashlib.sha256(new.encode()).hexdigest() in seen[1]


def test_secrets_survive_a_restart(own_server: Callable[..., Server], sessions: Sessions) -> None:
    server = own_server().start()
    value = fresh_value()
    model = sessions.models.new(finish(), terminal('printf %s "$KEPT" | sha256sum'), finish())
    conversation = sessions.open(server, model)
    conversation.update_secrets({"KEPT": value})
    conversation.send_message("go")
    conversation.run()
    server.restart()
    again = sessions.attach(server, conversation.id)
    again.send_message("go")
    again.run()
    text = [
        text_of(observation)
        for observation in observations(server, conversation.id)
        if observation["kind"] == "TerminalObservation"
    ]
    assert hashlib.sha256(value.encode()).hexdigest() in text[0]
    stored = b"".join(path.read_bytes() for path in server.root.rglob("*") if path.is_file())
    assert value.encode() not in stored, "the secret lies on disk in clear"


def test_model_key_is_never_shown(server: Server, sessions: Sessions) -> None:
    conversation = sessions.open(server, sessions.models.new(finish()))
    conversation.send_message("go")
    conversation.run()
    for path in ("", "/events/search"):
        assert "model-key" not in server.api.get(f"/api/conversations/{conversation.id}{path}").text
    assert "model-key" not in server.log
