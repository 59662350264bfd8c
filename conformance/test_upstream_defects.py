"""One test per verified defect of the reference server, asserting what a good server does instead.

The numbers are those of the defect list in the compatibility notes. Against the reference server these tests are
expected to fail (`SERVER_IS_REFERENCE=1`); against any other server they are plain tests.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from openhands.sdk.security.confirmation_policy import AlwaysConfirm
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from agents import (
    Recorder,
    Sessions,
    body_of,
    create,
    events_of,
    logged_events,
    message,
    observations,
    start,
    status_of,
    text_of,
    timed,
    wait_for,
    wait_for_action,
    wait_for_status,
)
from boxes import IN_BOXES, kill_quietly
from conftest import running
from mock_model import Turn, call, calls, failure, finish, say, terminal
from server import Server, processes_with
from test_workspace import git, repository

Make = Callable[..., Server]
SOON = 1.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running(Server(env={"OH_MAX_CONCURRENT_RUNS": "64"}))


@pytest.mark.upstream_defect("W1")
def test_w1_errors_do_not_stall_the_server(own_server: Make, sessions: Sessions) -> None:
    server = own_server(env={"LOG_JSON": "false"}).start()
    conversation_id = create(server, sessions.agent(sessions.models.new()))
    path = f"/api/conversations/{conversation_id}/events"
    slowest = 0.0
    done = threading.Event()

    def cause_errors() -> None:
        body = {"role": "assistant", "content": [{"type": "text", "text": "x"}]}
        for _ in range(5):
            with (
                suppress(httpx.TransportError),
                httpx.Client(base_url=server.url, headers=server.api.headers, timeout=60) as client,
            ):
                client.post(path, json=body)
        done.set()

    threading.Thread(target=cause_errors, daemon=True).start()
    with httpx.Client(base_url=server.url) as other:
        while not done.wait(0.01):
            slowest = max(slowest, timed(lambda: other.get("/health", timeout=60))[0])
    assert slowest < 0.5


def confirming(server: Server, sessions: Sessions, folder: Path, *turns: Turn) -> str:
    """A conversation that waits for a confirmation of its first turn."""
    model = sessions.models.new(*turns)
    body = body_of(sessions.agent(model), folder, confirmation_policy={"kind": "AlwaysConfirm"})
    conversation_id = server.api.post("/api/conversations", json=body).json()["id"]
    start(server, conversation_id)
    wait_for_status(server, conversation_id, "waiting_for_confirmation")
    return conversation_id


@pytest.mark.upstream_defect("W3")
def test_w3_a_new_message_rejects_what_waits_for_confirmation(server: Server, sessions: Sessions) -> None:
    folder = server.folder("w3")
    conversation_id = confirming(server, sessions, folder, terminal("touch dangerous"), say("I did nothing"))
    start(server, conversation_id, "instead do nothing")
    wait_for_status(server, conversation_id, "finished")
    assert not (folder / "dangerous").exists(), "the message approved the pending action"
    assert len(events_of(server, conversation_id, "UserRejectObservation")) == 1
    log = [
        event["kind"]
        for event in logged_events(server, conversation_id)
        if event["kind"] != "ConversationStateUpdateEvent"
    ]
    assert log[-3:] == ["UserRejectObservation", "MessageEvent", "MessageEvent"]


def test_w3_running_again_still_accepts(server: Server, sessions: Sessions) -> None:
    folder = server.folder("w3-accept")
    conversation_id = confirming(server, sessions, folder, terminal("touch wanted"), say("done"))
    assert server.api.post(f"/api/conversations/{conversation_id}/run").status_code == 200
    wait_for_status(server, conversation_id, "finished")
    assert (folder / "wanted").exists()


@pytest.mark.upstream_defect("W4")
def test_w4_policy_and_analyzer_survive_a_restart(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    folder = server.folder("w4")
    model = sessions.models.new(terminal("touch unconfirmed"), finish())
    conversation = sessions.open(server, model, folder=folder)
    conversation.set_confirmation_policy(AlwaysConfirm())
    path = f"/api/conversations/{conversation.id}"
    analyzer = {"security_analyzer": {"kind": "LLMSecurityAnalyzer"}}
    assert server.api.post(f"{path}/security_analyzer", json=analyzer).status_code == 200

    server.restart()
    start(server, conversation.id)
    wait_for_status(server, conversation.id, "waiting_for_confirmation", "finished")
    assert not (folder / "unconfirmed").exists()
    info = server.api.get(path).json()
    assert info["confirmation_policy"]["kind"] == "AlwaysConfirm"
    assert info["security_analyzer"]["kind"] == "LLMSecurityAnalyzer"


def stalled_reader(server: Server, conversation_id: str) -> socket.socket:
    """A WebSocket client that never reads a frame."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(("127.0.0.1", server.port))
    key = base64.b64encode(uuid.uuid4().bytes).decode()
    lines = [
        f"GET /sockets/events/{conversation_id} HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        f"X-Session-API-Key: {server.key}",
    ]
    peer.sendall("\r\n".join([*lines, "", ""]).encode())
    assert peer.recv(12).startswith(b"HTTP/1.1 101")
    return peer


@pytest.mark.upstream_defect("W5")
def test_w5_stalled_readers_cost_only_themselves(server: Server, sessions: Sessions) -> None:
    def heavy_run(readers: int) -> int:
        batches = [
            calls(*(("think", {"thought": f"{batch}.{number} " + "x" * 30_000}) for number in range(10)))
            for batch in range(20)
        ]
        model = sessions.models.new(*batches, finish(), say("again"))
        conversation_id = create(server, sessions.agent(model), stuck_detection=False)
        stalled = [stalled_reader(server, conversation_id) for _ in range(readers)]
        start(server, conversation_id)
        wait_for_status(server, conversation_id, "finished", timeout=120)
        start(server, conversation_id, "and again")
        began = time.monotonic()
        wait_for(lambda: len(model.requests) == 22, "the next run to start", 20)
        wait_for_status(server, conversation_id, "finished")
        assert time.monotonic() - began < 10
        used = server.rss()
        for peer in stalled:
            peer.close()
        return used

    alone = heavy_run(0)
    assert heavy_run(12) - alone < 64 * 2**20, "frames pile up in memory for readers that do not read"


@pytest.mark.upstream_defect("W6")
def test_w6_the_first_command_is_awaited(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    slow = server.workspace(server.folder("w6")).execute_command("echo 'sleep 1' > ~/.bashrc")
    assert slow.exit_code == 0, slow
    made = []
    for _ in range(4):
        conversation_id = create(
            server, sessions.agent(sessions.models.new(terminal("sleep 2; echo late; (exit 7)"), finish()))
        )
        start(server, conversation_id)
        made.append(conversation_id)
    for conversation_id in made:
        wait_for_status(server, conversation_id, "finished")
        first = observations(server, conversation_id)[0]
        assert "late" in text_of(first) and first["exit_code"] == 7


SECRET_SETTINGS = {
    "SESSION_API_KEY": "leak-session",
    "OH_SESSION_API_KEYS": json.dumps(["leak-json-key"]),
    "OH_SECRET_KEY": "leak-secret-key",
    "OH_PREVIOUS_SECRET_KEYS": json.dumps(["leak-previous"]),
    "OH_WEBHOOKS_0_BASE_URL": "http://127.0.0.1:9",
    "OH_WEBHOOKS_0_HEADERS": json.dumps({"Authorization": "leak-webhook"}),
    "OH_TELEMETRY_HTTP_TOKEN": "leak-telemetry",
    "OPENAI_API_KEY": "leak-provider",
    "AWS_SECRET_ACCESS_KEY": "leak-cloud",
}


@pytest.mark.upstream_defect("W7")
def test_w7_no_key_of_the_server_reaches_its_children(own_server: Make, sessions: Sessions) -> None:
    server = own_server(keys=(), env=SECRET_SETTINGS)
    server.key = "leak-json-key"
    server.api.headers["X-Session-API-Key"] = server.key
    server.start()
    command = "env; tr '\\0' '\\n' < /proc/self/environ"
    conversation_id = create(server, sessions.agent(sessions.models.new(terminal(command), finish())))
    start(server, conversation_id)
    wait_for_status(server, conversation_id, "finished")
    by_agent = text_of(observations(server, conversation_id)[0])
    by_bash = server.workspace(server.folder("w7")).execute_command(command).stdout
    for output in (by_agent, by_bash):
        assert "PATH=" in output
        assert "leak-" not in output
        assert not [line for line in output.splitlines() if line.startswith(("OH_", "SESSION_API_KEY"))]


@pytest.mark.upstream_defect("W8")
def test_w8_git_takes_any_file_name(server: Server) -> None:
    names = ["a b.txt", "ümläut.txt", 'quo"te.txt', "tab\there.txt", "line\nbreak.txt", "-dash.txt", "arrow -> x.txt"]
    folder = repository(server.folder("w8"), {name: "before\n" for name in names})
    for name in names:
        (folder / name).write_text("after\n")
    (folder / "new file ü.txt").write_text("new\n")
    git(folder, "mv", "a b.txt", "c d.txt")
    workspace = server.workspace(folder)
    changed = {str(change.path): change.status.value for change in workspace.git_changes(".")}
    expected = {name: "UPDATED" for name in names[1:]} | {
        "a b.txt": "DELETED",
        "c d.txt": "ADDED",
        "new file ü.txt": "ADDED",
    }
    assert changed == expected
    for name in names[1:]:
        diff = workspace.git_diff(name)
        assert (diff.original, diff.modified) == ("before", "after"), name


@pytest.mark.upstream_defect("W8")
def test_w8_a_name_that_is_no_text_spoils_nothing(server: Server) -> None:
    folder = repository(server.folder("w8-bytes"), {"plain.txt": "before\n"})
    odd = os.fsencode(folder) + b"/odd-\xff.txt"
    Path(os.fsdecode(odd)).write_text("before\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=odd")
    Path(os.fsdecode(odd)).write_text("after\n")
    (folder / "plain.txt").write_text("after\n")
    changed = {str(change.path): change.status.value for change in server.workspace(folder).git_changes(".")}
    assert changed.pop("plain.txt") == "UPDATED"
    assert len(changed) == 1 and next(iter(changed)).startswith("odd-")


@pytest.mark.upstream_defect("W10")
def test_w10_predictable_failures_are_client_errors(own_server: Make, server: Server, sessions: Sessions) -> None:
    agent = sessions.agent(sessions.models.new())
    conversation_id = create(server, agent)
    for role in ("assistant", "system", "tool"):
        body = {"role": role, "content": [{"type": "text", "text": "x"}]}
        assert_refused(server.api.post(f"/api/conversations/{conversation_id}/events", json=body))

    body = body_of(agent, server.folder("w10"))
    body["agent"]["tools"].append({"name": "no_such_tool", "params": {}})
    created = server.api.post("/api/conversations", json=body)
    if created.status_code == 201:
        created = server.api.post(f"/api/conversations/{created.json()['id']}/events", json=message("go"))
    assert_refused(created)
    assert "no_such_tool" in created.text

    unborn = server.folder("unborn")
    git(unborn, "init", "--quiet")
    assert_refused(server.api.post("/api/conversations", json=body_of(agent, unborn, worktree=True)))

    keyless = own_server(keys=(), env={"OH_SECRET_KEY": ""}).start()
    encrypted = body_of(agent, keyless.folder("w10"), secrets_encrypted=True)
    assert_refused(keyless.api.post("/api/conversations", json=encrypted))


def assert_refused(response: httpx.Response) -> None:
    assert 400 <= response.status_code < 500, f"{response.status_code}: {response.text[:500]}"
    assert response.json()["detail"]


@pytest.mark.upstream_defect("W10")
def test_w10_a_failing_model_is_no_crash_of_ask_agent(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new()
    model.answer = lambda body: failure(400, "no such parameter")  # type: ignore[method-assign]
    conversation_id = create(server, sessions.agent(model))
    response = server.api.post(f"/api/conversations/{conversation_id}/ask_agent", json={"question": "why?"})
    assert 400 <= response.status_code < 500 or response.status_code == 502, response.text[:500]


@pytest.mark.upstream_defect("W11")
def test_w11_delete_closes_the_sockets(server: Server, sessions: Sessions) -> None:
    conversation_id = create(server, sessions.agent(sessions.models.new()))
    url = f"ws://127.0.0.1:{server.port}/sockets/events/{conversation_id}"
    with connect(url, additional_headers={"X-Session-API-Key": server.key or ""}) as connection:
        connection.recv(10)
        assert server.api.delete(f"/api/conversations/{conversation_id}").status_code == 200
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                connection.recv(5)
    assert closed.value.rcvd and closed.value.rcvd.code == 4004


@pytest.mark.upstream_defect("W12")
def test_w12_a_killed_server_leaves_no_shell(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    mark = f"3117.{uuid.uuid4().int % 10**9}"
    background = terminal(f"setsid nohup sleep {mark} >/dev/null 2>&1 & echo started")
    model = sessions.models.new(background, terminal(f"sleep {mark}"), finish())
    conversation_id = create(server, sessions.agent(model))
    start(server, conversation_id)
    wait_for(lambda: len(processes_with(mark)) >= 2, "both commands to run")
    server.api.post("/api/bash/start_bash_command", json={"command": f"sleep {mark}", "timeout": 600})
    wait_for(lambda: len(processes_with(mark)) >= 3, "the bash command to run")
    try:
        server.kill()
        if IN_BOXES:
            # What runs in a box goes on with the box, which the next server finds, and its user can end.
            assert server.start().api.delete("/api/sandbox").status_code == 200
        elif server.wait_for_no_leftovers(5) or processes_with(mark):
            server.start()
            assert not server.wait_for_no_leftovers(5)
        wait_for(lambda: not processes_with(mark), "every command of the killed server to end", 5)
    finally:
        for process in processes_with(mark):
            kill_quietly(process)


def bash_output(server: Server, command_id: str) -> list[dict[str, Any]]:
    query = {"kind__eq": "BashOutput", "sort_order": "TIMESTAMP", "limit": 100, "command_id__eq": command_id}
    return server.api.get("/api/bash/bash_events/search", params=query).json()["items"]


@pytest.mark.upstream_defect("W13")
def test_w13_bash_output_is_visible_while_the_command_runs(server: Server) -> None:
    command = {"command": "echo early; sleep 4; echo late", "timeout": 30}
    command_id = server.api.post("/api/bash/start_bash_command", json=command).json()["id"]
    first = wait_for(lambda: bash_output(server, command_id), "the first output", 3)
    assert first[0]["stdout"] == "early\n" and first[0]["exit_code"] is None
    wait_for(lambda: bash_output(server, command_id)[-1]["exit_code"] is not None, "the end")
    output = bash_output(server, command_id)
    assert "".join(event["stdout"] or "" for event in output) == "early\nlate\n"
    assert [event["order"] for event in output] == list(range(len(output)))


@pytest.mark.upstream_defect("W13")
def test_w13_characters_are_never_cut(server: Server) -> None:
    whole = server.workspace(server.folder("w13")).execute_command(
        "printf x; i=0; while [ $i -lt 3000 ]; do printf 'äöü€😀äöü€😀'; i=$((i+1)); done"
    )
    assert whole.stdout == "x" + "äöü€😀äöü€😀" * 3000
    slow = server.workspace(server.folder("w13")).execute_command(r"printf '\303'; sleep 1; printf '\244!'")
    assert slow.stdout == "ä!"


@pytest.mark.upstream_defect("W13")
def test_w13_output_of_a_trap_after_the_timeout_is_kept(server: Server) -> None:
    script = "trap 'echo cleaned up; exit 0' TERM; echo begun; while :; do sleep 0.1; done"
    answer = server.api.post("/api/bash/execute_bash_command", json={"command": script, "timeout": 1}).json()
    assert answer["stdout"] == "begun\ncleaned up\n" and answer["exit_code"] == -1


@pytest.mark.upstream_defect("W17")
def test_w17_json_under_another_content_type(server: Server, sessions: Sessions) -> None:
    conversation_id = create(server, sessions.agent(sessions.models.new()))
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        response = server.api.post(
            f"/api/conversations/{conversation_id}/events",
            content=json.dumps(message("hi")),
            headers={"content-type": kind},
        )
        assert response.status_code in (200, 415, 422), response.text[:500]


@pytest.mark.upstream_defect("W18")
def test_w18_a_secret_that_the_model_writes_is_hidden_too(server: Server, sessions: Sessions) -> None:
    value = f"s3cr3t-{uuid.uuid4().hex}"
    check = f'[ "{value}" = "$NAMED" ] && echo "same value"'
    turns = calls(("terminal", {"command": check, "summary": f"compare {value}"}), text=f"I know {value}")
    model = sessions.models.new(turns, call("think", thought=value), finish(f"it is {value}"))
    recorder = Recorder()
    conversation = sessions.open(server, model, callbacks=[recorder], secrets={"NAMED": value})
    conversation.send_message("go")
    conversation.run()

    assert "same value" in text_of(observations(server, conversation.id)[0]), "the command ran with a changed text"
    base = f"/api/conversations/{conversation.id}"
    seen = [json.dumps(logged_events(server, conversation.id)), *(event.model_dump_json() for event in recorder.events)]
    seen += [server.api.get(f"{base}/events/{event['id']}").text for event in logged_events(server, conversation.id)]
    seen += [server.api.get(f"{base}/agent_final_response").text, server.api.get(base).text, server.log]
    assert not [text for text in seen if value in text]
    assert server.api.get(f"{base}/agent_final_response").json() == {"response": "it is <secret-hidden>"}


def busy(server: Server, sessions: Sessions, seconds: object) -> str:
    """A conversation whose terminal works for a while."""
    model = sessions.models.new(terminal(f"sleep {seconds}"), finish(), finish())
    conversation_id = create(server, sessions.agent(model))
    start(server, conversation_id)
    wait_for_action(server, conversation_id)
    return conversation_id


@pytest.mark.upstream_defect("W19")
def test_w19_controls_are_answered_while_a_tool_runs(server: Server, sessions: Sessions) -> None:
    conversation_id = busy(server, sessions, 20)
    base = f"/api/conversations/{conversation_id}"
    requests: dict[str, Callable[[], httpx.Response]] = {
        "tags": lambda: server.api.patch(base, json={"tags": {"a": "b"}, "title": "busy"}),
        "secrets": lambda: server.api.post(f"{base}/secrets", json={"secrets": {"A": "value-of-a"}}),
        "message": lambda: server.api.post(f"{base}/events", json=message("hello?")),
        "policy": lambda: server.api.post(f"{base}/confirmation_policy", json={"policy": {"kind": "AlwaysConfirm"}}),
        "analyzer": lambda: server.api.post(f"{base}/security_analyzer", json={"security_analyzer": None}),
        "pause": lambda: server.api.post(f"{base}/pause"),
    }
    for name, request in requests.items():
        seconds, response = timed(request)
        assert response.status_code == 200, f"{name}: {response.text}"
        assert seconds < SOON, f"{name} took {seconds:.1f} s"
    assert status_of(server, conversation_id) == "paused"
    kinds = [event["kind"] for event in logged_events(server, conversation_id)]
    assert "PauseEvent" in kinds

    doomed = busy(server, sessions, 20)
    seconds, response = timed(lambda: server.api.delete(f"/api/conversations/{doomed}"))
    assert response.status_code == 200 and seconds < SOON, f"delete took {seconds:.1f} s"


@pytest.mark.upstream_defect("W19")
def test_w19_sigterm_does_not_wait_for_tools(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    mark = f"20.{uuid.uuid4().int % 10**9}"
    for _ in range(2):
        busy(server, sessions, mark)
    server.api.post("/api/bash/start_bash_command", json={"command": f"sleep {mark}", "timeout": 60})
    wait_for(lambda: len(processes_with(mark)) >= 3, "all commands to run")
    assert server.stop() < 2
    assert not server.wait_for_no_leftovers(2)
    wait_for(lambda: not processes_with(mark), "every command to end", 2)


@pytest.mark.upstream_defect("W20")
def test_w20_many_busy_agents_slow_nobody_down(server: Server, sessions: Sessions) -> None:
    models = [sessions.models.new(terminal("sleep 10"), finish()) for _ in range(16)]
    made = [create(server, sessions.agent(model)) for model in models]
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda conversation_id: start(server, conversation_id), made))
        list(pool.map(lambda conversation_id: wait_for_action(server, conversation_id), made))
    file = server.folder("w20") / "file"
    slow: dict[str, float] = {}
    requests: dict[str, Callable[[], httpx.Response]] = {
        "get": lambda: server.api.get(f"/api/conversations/{made[0]}"),
        "list": lambda: server.api.get("/api/conversations/search"),
        "events": lambda: server.api.get(f"/api/conversations/{made[1]}/events/search"),
        "bash": lambda: server.api.post("/api/bash/execute_bash_command", json={"command": "true", "timeout": 10}),
        "upload": lambda: server.api.post(
            "/api/file/upload", params={"path": str(file)}, files={"file": b"x" * 100_000}
        ),
        "message": lambda: server.api.post(f"/api/conversations/{made[2]}/events", json=message("hello?")),
        "create": lambda: server.api.post(
            "/api/conversations", json=body_of(sessions.agent(models[0]), server.folder("w20-new"))
        ),
    }
    for _ in range(3):
        for name, request in requests.items():
            seconds, response = timed(request)
            assert response.is_success, f"{name}: {response.text}"
            slow[name] = max(slow.get(name, 0), seconds)
    assert time.monotonic() - began < 10, "the requests were not measured beside the running tools"
    assert {name: seconds for name, seconds in slow.items() if seconds >= SOON} == {}
    for conversation_id in made:
        wait_for_status(server, conversation_id, "finished", timeout=30)


@pytest.mark.upstream_defect("W21")
def test_w21_secrets_do_not_come_back_in_errors(server: Server, sessions: Sessions) -> None:
    value = f"s3cr3t-{uuid.uuid4().hex}"
    agent = sessions.agent(sessions.models.new())
    plain = server.api.post("/api/conversations", json=body_of(agent, server.folder("w21"), secrets={"DEPLOY": value}))
    assert plain.status_code in (201, 422) and value not in plain.text

    broken = body_of(
        agent, server.folder("w21"), secrets={"DEPLOY": {"kind": "StaticSecret", "value": value}}, max_iterations="many"
    )
    broken["agent"]["llm"]["api_key"] = value
    broken["agent"]["llm"]["temperature"] = "hot"
    refused = server.api.post("/api/conversations", json=broken)
    assert refused.status_code == 422 and value not in refused.text

    conversation_id = create(server, agent)
    for bad in (
        {"secrets": [value]},
        {"secrets": {"A": [value]}},
        {"secrets": {"A": {"kind": "Bogus", "value": value}}},
    ):
        response = server.api.post(f"/api/conversations/{conversation_id}/secrets", json=bad)
        assert response.status_code == 422 and value not in response.text
    assert value not in server.log


def terminal_steps(server: Server, sessions: Sessions, *turns: Turn) -> list[dict[str, Any]]:
    conversation_id = create(server, sessions.agent(sessions.models.new(*turns, finish())), stuck_detection=False)
    start(server, conversation_id)
    wait_for_status(server, conversation_id, "finished", timeout=90)
    return observations(server, conversation_id)[: len(turns)]


@pytest.mark.upstream_defect("W22")
def test_w22_input_reaches_the_waiting_command(server: Server, sessions: Sessions) -> None:
    waiting, answered, after = terminal_steps(
        server,
        sessions,
        terminal('read -p "name? " name; echo "hello $name"', timeout=2),
        terminal("world", is_input=True, timeout=10),
        terminal("echo fresh"),
    )
    assert waiting.get("exit_code") == -1 and "name?" in text_of(waiting)
    assert answered.get("exit_code") == 0 and "hello world" in text_of(answered)
    assert after["exit_code"] == 0 and "fresh" in text_of(after)


@pytest.mark.upstream_defect("W22")
def test_w22_empty_command_collects_the_rest(server: Server, sessions: Sessions) -> None:
    begun, refused, rest = terminal_steps(
        server,
        sessions,
        terminal("echo first; sleep 4; echo second", timeout=1),
        terminal("echo too-early"),
        terminal("", timeout=20),
    )
    assert begun.get("exit_code") == -1 and "first" in text_of(begun) and "second" not in text_of(begun).splitlines()
    assert refused["is_error"] and refused["metadata"]["suffix"] and "too-early" not in text_of(rest)
    assert rest["exit_code"] == 0 and "second" in text_of(rest)


@pytest.mark.upstream_defect("W22")
def test_w22_control_c_ends_the_command_and_the_shell_lives_on(server: Server, sessions: Sessions) -> None:
    hanging, ended, after = terminal_steps(
        server,
        sessions,
        terminal("kept=here; sleep 100", timeout=1),
        terminal("C-c", is_input=True, timeout=10),
        terminal('echo "still $kept"'),
    )
    assert hanging.get("exit_code") == -1
    assert ended.get("exit_code") == 130
    assert after["exit_code"] == 0 and "still here" in text_of(after)
