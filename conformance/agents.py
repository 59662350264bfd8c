"""Agents, conversations and event lists as a user of the official SDK makes them."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import openhands.tools.file_editor
import openhands.tools.task_tracker
import openhands.tools.terminal  # noqa: F401  (importing registers the tools' event classes)
from openhands.sdk import LLM, Agent, Conversation, Tool
from openhands.sdk.conversation.impl.remote_conversation import RemoteConversation
from openhands.sdk.event import Event
from pydantic import SecretStr

from mock_model import MockModels, Model
from server import Server

TOOLS = ("terminal", "file_editor", "task_tracker")


class Recorder:
    """A conversation callback that keeps every event in the order of arrival."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def logged(self) -> list[Event]:
        """Without what the server never stores: whole-state snapshots and text deltas."""
        return [event for event in self.events if is_logged(event)]


class Sessions:
    """Makes agents and conversations, and closes the conversations when the test is over."""

    def __init__(self, models: MockModels) -> None:
        self.models = models
        self.opened: list[RemoteConversation] = []
        self.folders = itertools.count(1)

    def agent(self, model: Model, **llm: Any) -> Agent:
        settings = {
            "num_retries": 0,
            "usage_id": "agent",
            "base_url": self.models.url,
            "api_key": SecretStr("model-key"),
        } | llm
        return Agent(
            llm=LLM(model=f"openai/{model.name}", **settings),
            tools=[Tool(name=name) for name in TOOLS],
        )

    def open(
        self,
        server: Server,
        model: Model,
        *,
        folder: Path | None = None,
        url: str | None = None,
        llm: dict[str, Any] | None = None,
        **options: Any,
    ) -> RemoteConversation:
        """A `Conversation` of the SDK on the server, in a fresh folder unless one is given."""
        folder = folder or server.folder(f"{uuid.uuid4().hex[:8]}")
        options.setdefault("callbacks", [])
        conversation = Conversation(
            agent=self.agent(model, **(llm or {})),
            workspace=server.workspace(folder, url),
            visualizer=None,
            delete_on_close=False,
            **options,
        )
        return self.keep(conversation)

    def attach(
        self, server: Server, conversation_id: uuid.UUID, callbacks: Iterable[Callable[[Event], None]] = ()
    ) -> RemoteConversation:
        workspace = server.workspace(server.root / "work")
        return self.keep(
            RemoteConversation.attach(workspace, conversation_id, callbacks=list(callbacks), visualizer=None)
        )

    def keep(self, conversation: Any) -> RemoteConversation:
        assert isinstance(conversation, RemoteConversation)
        self.opened.append(conversation)
        return conversation

    def close(self) -> None:
        """Close all side by side, without waiting: with an idle socket each close lasts 5 s in the client."""
        for conversation in self.opened:
            threading.Thread(target=conversation.close, daemon=True).start()


def body_of(agent: Agent, folder: Path, **more: Any) -> dict[str, Any]:
    """A create request as plain JSON, for tests that speak HTTP themselves."""
    return {
        "agent": agent.model_dump(mode="json", context={"expose_secrets": True}),
        "workspace": {"kind": "LocalWorkspace", "working_dir": str(folder)},
        "autotitle": False,
        **more,
    }


def create(server: Server, agent: Agent, **more: Any) -> str:
    response = server.api.post("/api/conversations", json=body_of(agent, server.folder(uuid.uuid4().hex[:8]), **more))
    assert response.status_code == 201, response.text
    return str(uuid.UUID(response.json()["id"]))


def message(text: str, run: bool = False) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}], "run": run}


def start(server: Server, conversation_id: str, text: str = "go") -> None:
    path = f"/api/conversations/{conversation_id}/events"
    assert server.api.post(path, json=message(text, run=True)).status_code == 200


def status_of(server: Server, conversation_id: object) -> str:
    response = server.api.get(f"/api/conversations/{conversation_id}")
    assert response.status_code == 200, response.text
    return response.json()["execution_status"]


def wait_for_status(server: Server, conversation_id: object, *wanted: str, timeout: float = 60) -> str:
    return wait_for(lambda: (now := status_of(server, conversation_id)) in wanted and now, f"status {wanted}", timeout)


def wait_for_action(server: Server, conversation_id: object, count: int = 1, timeout: float = 60) -> dict[str, Any]:
    """Wait until `count` actions are logged: the tool of the last one is running or about to."""

    def last() -> dict[str, Any] | None:
        actions = [event for event in logged_events(server, conversation_id) if event["kind"] == "ActionEvent"]
        return actions[-1] if len(actions) >= count else None

    return wait_for(last, f"{count} actions", timeout)


def wait_for[T](probe: Callable[[], T | None], what: str, timeout: float = 30) -> T:
    """Poll until the probe returns something true."""
    deadline = time.monotonic() + timeout
    while True:
        if value := probe():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain for {what}")
        time.sleep(0.02)


def logged_events(server: Server, conversation_id: object) -> list[dict[str, Any]]:
    """The whole log over REST, page by page."""
    items: list[dict[str, Any]] = []
    page: str | None = None
    while True:
        query = {"limit": 100} | ({"page_id": page} if page else {})
        response = server.api.get(f"/api/conversations/{conversation_id}/events/search", params=query)
        assert response.status_code == 200, response.text
        items += response.json()["items"]
        if not (page := response.json()["next_page_id"]):
            return items


def events_of(server: Server, conversation_id: object, kind: str) -> list[dict[str, Any]]:
    return [event for event in logged_events(server, conversation_id) if event["kind"] == kind]


def observations(server: Server, conversation_id: object) -> list[dict[str, Any]]:
    return [event["observation"] for event in events_of(server, conversation_id, "ObservationEvent")]


def terminals(server: Server, conversation_id: object) -> list[dict[str, Any]]:
    """What the terminal said, command by command."""
    return [seen for seen in observations(server, conversation_id) if seen["kind"] == "TerminalObservation"]


def text_of(observation: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for part in observation["content"])


def is_logged(event: Event) -> bool:
    kind = type(event).__name__
    return kind != "StreamingDeltaEvent" and not (
        kind == "ConversationStateUpdateEvent" and getattr(event, "key", "") == "full_state"
    )


def is_state(event: Event) -> bool:
    return type(event).__name__ == "ConversationStateUpdateEvent"


def kinds(events: Iterable[Event]) -> list[str]:
    """Event kinds without state updates, whose places between other events are free."""
    return [type(event).__name__ for event in events if not is_state(event)]


def statuses(events: Iterable[Event]) -> list[str]:
    return [event.value for event in events if is_state(event) and event.key == "execution_status"]  # type: ignore[attr-defined]


def timed(request: Callable[[], httpx.Response]) -> tuple[float, httpx.Response]:
    began = time.monotonic()
    response = request()
    return time.monotonic() - began, response


def box_of(server: Server, conversation_id: object = None) -> dict[str, Any]:
    """The box that a conversation works in, as the server tells it; without a conversation the user's."""
    response = server.api.get(f"{box_path(conversation_id)}")
    assert response.status_code == 200, response.text
    return response.json()


def box_path(conversation_id: object = None) -> str:
    return f"/api/conversations/{conversation_id}/sandbox" if conversation_id else "/api/sandbox"


def box_events(server: Server, conversation_id: object = None) -> list[dict[str, Any]]:
    """All that happened to the box."""
    items: list[dict[str, Any]] = []
    while True:
        response = server.api.get(f"{box_path(conversation_id)}/events", params={"from_seq": len(items)})
        assert response.status_code == 200, response.text
        if not response.json()["items"]:
            return items
        items += response.json()["items"]


def box_states(server: Server, conversation_id: object = None) -> list[str]:
    return [event["state"] for event in box_events(server, conversation_id) if event["kind"] == "state"]
