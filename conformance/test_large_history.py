"""A conversation of two thousand events: attaching, paging, going on."""

from __future__ import annotations

import time

from openhands.sdk.conversation.state import ConversationExecutionStatus

from agents import Sessions, logged_events
from mock_model import calls, finish, say
from server import Server

BATCHES, BATCH = 10, 100


def test_attach_to_two_thousand_events(server: Server, sessions: Sessions) -> None:
    batches = [
        calls(*(("think", {"thought": f"thought {batch}.{number} " + "x" * 500}) for number in range(BATCH)))
        for batch in range(BATCHES)
    ]
    model = sessions.models.new(*batches, finish(), say("still here"))
    first = sessions.open(server, model)
    first.send_message("think a lot")
    first.run(timeout=300)
    stored = logged_events(server, first.id)
    assert len(stored) > 2 * BATCHES * BATCH
    assert len({event["id"] for event in stored}) == len(stored)

    began = time.monotonic()
    second = sessions.attach(server, first.id)
    assert time.monotonic() - began < 60
    listed = [event.id for event in second.state.events if getattr(event, "key", "") != "full_state"]
    assert listed == [event["id"] for event in stored]

    second.send_message("and now?")
    second.run(timeout=120)
    assert second.state.execution_status == ConversationExecutionStatus.FINISHED
    assert len(model.requests[-1]["messages"]) > 2 * BATCHES
