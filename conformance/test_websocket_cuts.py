"""The event socket is cut every 300 ms; the client loses nothing and sees nothing twice."""

from __future__ import annotations

from collections import Counter

from openhands.sdk.conversation.state import ConversationExecutionStatus

from agents import Recorder, Sessions, logged_events, wait_for
from mock_model import after, finish, terminal
from proxy import CuttingProxy
from server import Server

STEPS = 30


def test_no_event_is_lost_or_doubled(server: Server, sessions: Sessions) -> None:
    proxy = CuttingProxy(server.port, 0.3)
    try:
        steps = [after(0.15, terminal(f"echo step-{number}")) for number in range(STEPS)]
        model = sessions.models.new(*steps, finish())
        recorder = Recorder()
        conversation = sessions.open(server, model, url=proxy.url, callbacks=[recorder])
        conversation.send_message("go")
        conversation.run(timeout=120)

        assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
        stored = [event["id"] for event in logged_events(server, conversation.id)]
        assert len(stored) > 2 * STEPS
        wait_for(
            lambda: {event.id for event in recorder.logged()} >= set(stored), "every event to reach the callbacks", 60
        )
        assert proxy.cuts >= 3, "the test cut too few connections to prove anything"
        repeated = {key: times for key, times in Counter(event.id for event in recorder.logged()).items() if times > 1}
        assert not repeated, f"callbacks saw events twice: {repeated}"
        listed = [event.id for event in conversation.state.events if event.id in set(stored)]
        assert listed == stored
    finally:
        proxy.stop()
