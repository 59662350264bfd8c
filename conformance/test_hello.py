"""A whole task: message, model, tool, observation, finish; what clients see, in which order."""

from __future__ import annotations

from typing import Any

from openhands.sdk.conversation.state import ConversationExecutionStatus

from agents import Recorder, Sessions, events_of, kinds, logged_events, observations, statuses, text_of, wait_for
from mock_model import Turn, call, calls, finish, say, terminal
from server import Server


def test_terminal_call_and_finish(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(terminal("echo hello-$((40 + 2)); pwd"), finish("all done"))
    recorder = Recorder()
    folder = server.folder("hello")
    conversation = sessions.open(server, model, folder=folder, callbacks=[recorder])

    conversation.send_message("Say hello")
    conversation.run()

    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    step = ["ActionEvent", "ObservationEvent"]
    assert kinds(recorder.logged()) == ["SystemPromptEvent", "MessageEvent", *step, *step]
    assert statuses(recorder.events) == ["running", "finished"]
    observation = observations(server, conversation.id)[0]
    assert "hello-42" in text_of(observation) and str(folder) in text_of(observation)
    assert observation["exit_code"] == 0 and observation["metadata"]["working_dir"] == str(folder)
    final = server.api.get(f"/api/conversations/{conversation.id}/agent_final_response")
    assert final.json() == {"response": "all done"}


def test_frames_come_in_the_order_of_the_contract(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(terminal("true"), finish())
    recorder = Recorder()
    conversation = sessions.open(server, model, callbacks=[recorder])
    conversation.send_message("go")
    conversation.run()

    first, last = recorder.events[0], recorder.events[-1]
    assert (first.key, first.value["execution_status"]) == ("full_state", "idle")
    assert (last.key, last.value["execution_status"]) == ("full_state", "finished")
    marks = [
        getattr(event, "value", None) if getattr(event, "key", "") == "execution_status" else type(event).__name__
        for event in recorder.events
    ]
    order = [
        marks.index(mark)
        for mark in ("SystemPromptEvent", "MessageEvent", "running", "ActionEvent", "ObservationEvent", "finished")
    ]
    assert order == sorted(order)
    times = [event["timestamp"] for event in logged_events(server, conversation.id)]
    assert times == sorted(times)


def test_callbacks_list_and_rest_agree(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(call("think", thought="hm"), terminal("echo one"), finish())
    recorder = Recorder()
    conversation = sessions.open(server, model, callbacks=[recorder])
    conversation.send_message("go")
    conversation.run()

    stored = [event["id"] for event in logged_events(server, conversation.id)]
    assert len(set(stored)) == len(stored)
    assert {event.id for event in recorder.logged()} == set(stored)
    assert [event.id for event in recorder.logged() if type(event).__name__ != "ConversationStateUpdateEvent"] == [
        event["id"]
        for event in logged_events(server, conversation.id)
        if event["kind"] != "ConversationStateUpdateEvent"
    ]
    assert set(stored) <= {event.id for event in conversation.state.events}
    assert len(recorder.logged()) == len(stored), "an event reached the callbacks twice"


def test_rest_search_omits_nulls_and_single_event_keeps_them(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(finish())
    conversation = sessions.open(server, model)
    conversation.send_message("go")
    conversation.run()

    events = logged_events(server, conversation.id)
    assert all(value is not None for event in events for value in event.values())
    action = next(event for event in events if event["kind"] == "ActionEvent")
    single = server.api.get(f"/api/conversations/{conversation.id}/events/{action['id']}").json()
    assert single["reasoning_content"] is None and single["tool_call_id"] == action["tool_call_id"]


def test_model_sees_prompt_tools_and_tool_results(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(terminal("echo marker-one"), finish())
    conversation = sessions.open(server, model)
    conversation.send_message("the task")
    conversation.run()

    first, second = model.requests
    offered = {tool["function"]["name"] for tool in first["tools"]}
    assert {"terminal", "file_editor", "task_tracker", "think", "finish"} <= offered
    assert [entry["role"] for entry in first["messages"]] == ["system", "user"]
    assert "the task" in str(first["messages"][1]["content"])
    asked, answered = second["messages"][-2:]
    assert answered["role"] == "tool" and "marker-one" in str(answered["content"])
    assert asked["tool_calls"][0]["id"] == answered["tool_call_id"]


def test_second_turn_continues_the_conversation(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(finish("first"), say("second answer"))
    recorder = Recorder()
    conversation = sessions.open(server, model, callbacks=[recorder])
    conversation.send_message("one")
    conversation.run()
    conversation.send_message("two")
    conversation.run()

    assert statuses(recorder.events) == ["running", "finished", "idle", "running", "finished"]
    assert [entry["role"] for entry in model.requests[1]["messages"]] == ["system", "user", "assistant", "tool", "user"]
    final = server.api.get(f"/api/conversations/{conversation.id}/agent_final_response")
    assert final.json() == {"response": "second answer"}


def test_plain_text_ends_the_run(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(say("just words"))
    conversation = sessions.open(server, model)
    conversation.send_message("hi")
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    spoken = [event for event in events_of(server, conversation.id, "MessageEvent") if event["source"] == "agent"]
    assert spoken[-1]["llm_message"]["content"][0]["text"] == "just words"


def test_parallel_calls_share_one_response(server: Server, sessions: Sessions) -> None:
    first = calls(("terminal", {"command": "echo a > a"}), ("terminal", {"command": "echo b > b"}), text="two at once")
    model = sessions.models.new(first, finish())
    folder = server.folder("parallel")
    conversation = sessions.open(server, model, folder=folder)
    conversation.send_message("go")
    conversation.run()

    log = [
        event
        for event in logged_events(server, conversation.id)
        if event["kind"] in ("ActionEvent", "ObservationEvent")
    ]
    assert [event["kind"] for event in log[:4]] == [
        "ActionEvent",
        "ActionEvent",
        "ObservationEvent",
        "ObservationEvent",
    ]
    assert log[0]["llm_response_id"] == log[1]["llm_response_id"]
    assert log[0]["thought"] and not log[1]["thought"]
    assert {log[2]["action_id"], log[3]["action_id"]} == {log[0]["id"], log[1]["id"]}
    assert (folder / "a").read_text() + (folder / "b").read_text() == "a\nb\n"


def test_streamed_answer_reaches_token_callbacks(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(terminal("echo streamed"), say("these words came one by one"))
    deltas: list[str] = []

    def keep(chunk: Any) -> None:
        deltas.append(chunk.choices[0].delta.content or "")

    conversation = sessions.open(server, model, llm={"stream": True}, token_callbacks=[keep])
    conversation.send_message("go")
    conversation.run()

    assert model.requests[0]["stream"] is True
    assert "".join(deltas) == "these words came one by one" and len(deltas) > 3
    assert "streamed" in text_of(observations(server, conversation.id)[0])
    assert "StreamingDeltaEvent" not in {event["kind"] for event in logged_events(server, conversation.id)}


def test_bad_tool_calls_are_answered_and_the_run_goes_on(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(
        calls(("terminal", '{"nothing": 1}')), calls(("no_such_tool", {})), calls(("terminal", "{broken")), finish()
    )
    conversation = sessions.open(server, model)
    conversation.send_message("go")
    conversation.run()

    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    errors = events_of(server, conversation.id, "AgentErrorEvent")
    assert len(errors) == 3
    assert "no_such_tool" in errors[1]["error"] and "terminal" in errors[1]["error"]
    answers = [entry for entry in model.requests[-1]["messages"] if entry["role"] == "tool"]
    assert len(answers) == 3, "the model was not told about every bad call"


def test_empty_reply_is_nudged(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(Turn(text=""), say("sorry"))
    conversation = sessions.open(server, model)
    conversation.send_message("go")
    conversation.run()
    assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    nudges = [event for event in events_of(server, conversation.id, "MessageEvent") if event["source"] == "environment"]
    assert len(nudges) == 1 and nudges[0]["llm_message"]["role"] == "user"


def test_task_tracker_keeps_the_plan(server: Server, sessions: Sessions) -> None:
    plan = [
        {"title": "first", "notes": "", "status": "in_progress"},
        {"title": "second", "notes": "n", "status": "todo"},
    ]
    model = sessions.models.new(
        call("task_tracker", command="plan", task_list=plan), call("task_tracker", command="view"), finish()
    )
    conversation = sessions.open(server, model)
    conversation.send_message("plan")
    conversation.run()
    planned, viewed = observations(server, conversation.id)[:2]
    assert [task["title"] for task in planned["task_list"]] == ["first", "second"]
    assert "second" in text_of(viewed) and viewed["task_list"][0]["status"] == "in_progress"


def test_usage_is_accounted(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(call("think", thought="a"), finish())
    conversation = sessions.open(server, model)
    conversation.send_message("go")
    conversation.run()
    usage = wait_for(lambda: conversation.state.stats.usage_to_metrics.get("agent"), "usage of the agent's model")
    total = len(model.requests) + len(model.asides)  # a title made on the side may count, too
    assert usage.accumulated_token_usage.prompt_tokens in (200, 100 * total)
    assert usage.accumulated_token_usage.completion_tokens in (20, 10 * total)
