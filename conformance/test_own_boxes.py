"""Conversations that ask for a box of their own: what they get, who sees it, and that it goes with them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from openhands.sdk.conversation.state import ConversationExecutionStatus

from agents import (
    Sessions,
    body_of,
    box_events,
    box_of,
    box_path,
    logged_events,
    start,
    status_of,
    terminals,
    text_of,
    wait_for,
    wait_for_action,
    wait_for_status,
)
from boxes import IN_BOXES, SANDBOX
from mock_model import Model, Turn, finish, terminal
from server import IS_REFERENCE, Server, processes_with

Make = Callable[..., Server]

in_boxes = pytest.mark.skipif(not IN_BOXES, reason="without isolation there is no box: see SANDBOX in the README")


def ask(server: Server, sessions: Sessions, model: Model, **sandbox: Any) -> httpx.Response:
    body = body_of(sessions.agent(model), Path("/workspace"))
    body["workspace"]["sandbox"] = sandbox
    return server.api.post("/api/conversations", json=body)


def own_box(server: Server, sessions: Sessions, *turns: Turn, **sandbox: Any) -> str:
    """A conversation in a box of its own that has taken its turns."""
    response = ask(server, sessions, sessions.models.new(*turns, finish()), **sandbox)
    assert response.status_code == 201, response.text
    conversation_id = response.json()["id"]
    start(server, conversation_id)
    wait_for_status(server, conversation_id, "finished")
    return conversation_id


def execute(server: Server, conversation_id: str, command: str) -> dict[str, Any]:
    """Runs a command in the conversation's box, without its agent."""
    path = f"/api/conversations/{conversation_id}/bash/execute_bash_command"
    response = server.api.post(path, json={"command": command, "timeout": 30})
    assert response.status_code == 200, response.text
    return response.json()


@in_boxes
def test_only_the_conversation_sees_its_box(server: Server, sessions: Sessions) -> None:
    users = server.workspace("/workspace")
    assert users.execute_command("echo of the user > /workspace/users.txt").exit_code == 0
    write = terminal("echo of the agent > agents.txt; ls")
    one = own_box(server, sessions, write, resource_limits={"pids": 100})
    other = own_box(server, sessions, terminal("ls"), resource_limits={"pids": 100})

    boxes = {box_of(server, where)["id"] for where in (None, one, other)}
    assert len(boxes) == 3, "a box is shared"
    assert text_of(terminals(server, one)[0]) == "agents.txt"
    assert text_of(terminals(server, other)[0]) == ""
    assert execute(server, one, "cat agents.txt")["stdout"] == "of the agent\n"
    assert users.execute_command("cat /workspace/agents.txt").exit_code != 0
    for route, status in ((f"/api/conversations/{one}", 200), (f"/api/conversations/{other}", 404), ("/api", 404)):
        response = server.api.get(f"{route}/file/download", params={"path": "/workspace/agents.txt"})
        assert response.status_code == status, f"{route}: {response.text}"
    assert server.api.get(f"/api/conversations/{one}").json()["workspace"]["sandbox"]["resource_limits"]["pids"] == 100


@in_boxes
def test_the_official_client_works_with_such_a_conversation(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(terminal("echo kept > kept.txt"), finish(), terminal("cat kept.txt"), finish())
    conversation_id = ask(server, sessions, model, resource_limits={"pids": 100}).json()["id"]
    conversation = sessions.attach(server, conversation_id)
    for _ in range(2):
        conversation.send_message("go")
        conversation.run()
        assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
    assert text_of(terminals(server, conversation_id)[1]) == "kept"
    listed = [event.id for event in conversation.state.events]
    assert {event["id"] for event in logged_events(server, conversation_id)} <= set(listed)


@in_boxes
def test_a_box_goes_with_its_conversation(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    kept = own_box(server, sessions, terminal("echo kept > kept.txt"), resource_limits={"pids": 100})
    doomed = own_box(server, sessions, terminal("nohup sleep 600 >/dev/null 2>&1 &"), resource_limits={"pids": 100})
    box = box_of(server, doomed)["id"]
    assert any(box in line for line in server.boxes.remains())
    assert server.api.delete(f"/api/conversations/{doomed}").status_code == 200
    wait_for(lambda: not any(box in line for line in server.boxes.remains()), "the box to be gone")
    assert server.boxes.processes(box) == []
    assert server.api.get(box_path(doomed)).status_code == 404
    assert execute(server, kept, "cat kept.txt")["stdout"] == "kept\n"


@in_boxes
def test_a_box_goes_with_its_conversation_whatever_it_is_doing(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    mark = f"317.{uuid.uuid4().int % 10**9}"
    for is_made in (True, False):
        model = sessions.models.new(terminal(f"sleep {mark}"), finish())
        conversation_id = ask(server, sessions, model, resource_limits={"pids": 100}).json()["id"]
        start(server, conversation_id)
        if is_made:
            wait_for(lambda: processes_with(mark), "the command to run")
        else:
            # The box is being made.
            wait_for_action(server, conversation_id)
        assert server.api.delete(f"/api/conversations/{conversation_id}").status_code == 200
        wait_for(lambda: not server.boxes.remains(), "the box to be gone")


@in_boxes
def test_variables_reach_the_box_and_are_hidden(own_server: Make, sessions: Sessions) -> None:
    server = own_server().start()
    value = f"s3cr3t-{uuid.uuid4().hex}"
    check = 'printf %s "$TOKEN" | sha256sum'
    conversation_id = own_box(server, sessions, terminal(check), env={"TOKEN": value})
    digest = hashlib.sha256(value.encode()).hexdigest()
    assert digest in text_of(terminals(server, conversation_id)[0]), "the variable is not in the box"
    server.restart()
    server.boxes.kill(box_of(server, conversation_id)["id"])
    wait_for(lambda: box_of(server, conversation_id)["state"] == "lost", "the death to be noticed")
    assert digest in execute(server, conversation_id, check)["stdout"], "the box came back without it"

    told = [server.api.get(f"/api/conversations/{conversation_id}{path}").text for path in ("", "/sandbox")]
    assert all("TOKEN" in text and value not in text for text in told)
    assert value not in json.dumps([box_events(server, conversation_id), logged_events(server, conversation_id)])
    assert value not in server.log
    stored = b"".join(path.read_bytes() for path in server.root.rglob("*") if path.is_file())
    assert value.encode() not in stored, "the variable lies on disk in clear"


@in_boxes
def test_limits_hold(server: Server, sessions: Sessions) -> None:
    fork = "for i in $(seq 60); do sleep 2 & done; wait"
    eat = "head -c 400m /dev/zero | tail | wc -c"
    limits = {"memory": "128m", "pids": 40, "cpus": 0.5}
    conversation_id = own_box(server, sessions, terminal("echo begun"), resource_limits=limits)
    assert box_of(server, conversation_id)["options"]["resource_limits"] == limits
    assert "fork" in execute(server, conversation_id, fork)["stderr"], "there is no limit of processes"
    eaten = execute(server, conversation_id, eat)
    assert (eaten["stdout"] or "").strip() in ("", "0"), "there is no limit of memory"
    wait_for(lambda: execute(server, conversation_id, "echo alive")["stdout"] == "alive\n", "the box to be usable")


@pytest.fixture
def page() -> Iterator[str]:
    """The host and port of a page on this machine's loopback, which no box reaches by itself."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "7")
            self.end_headers()
            self.wfile.write(b"reached")

        def log_message(self, *_: Any) -> None:
            pass

    served = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def configured(make: Make, text: str) -> Server:
    """A server with a configuration file."""
    server = make()
    file = server.root / "config.toml"
    file.write_text(text)
    server.command += f" --config {file}"
    return server.start()


@in_boxes
def test_only_allowed_hosts_are_reached(own_server: Make, sessions: Sessions, page: str) -> None:
    server = configured(own_server, '[lifecycle]\nprivate_allowed = ["127.0.0.1/32"]\n')

    def fetch(address: str) -> Turn:
        # The page is on an address that programs do not ask the proxy for unless they are told to.
        return terminal(f"curl --silent --show-error --noproxy '' http://{address}/")

    allowed = own_box(server, sessions, fetch(page), fetch("elsewhere.test"), allowed_hosts=[page])
    reached, refused = terminals(server, allowed)
    assert text_of(reached) == "reached"
    assert "elsewhere.test" in text_of(refused) and "reached" not in text_of(refused)
    denied = [event for event in box_events(server, allowed) if event["kind"] == "denied"]
    assert [(event["host"], event["port"]) for event in denied] == [("elsewhere.test", 80)] and denied[0]["reason"]

    closed = own_box(server, sessions, fetch(page))
    assert terminals(server, closed)[0]["exit_code"] != 0, "a box without allowed hosts has a way out"


@in_boxes
def test_an_image_of_its_own(own_server: Make, sessions: Sessions) -> None:
    if SANDBOX == "docker":
        server, image = own_server().start(), "longshore-test/busybox"
        other = "ls -l /bin/sh | grep -o busybox"
    else:
        server = own_server()
        root = small_root(server.root / "small")
        server, image = configured(lambda: server, f'[backend.bubblewrap.roots]\nsmall = "{root}"\n'), "small"
        other = "ls /usr/bin/env || echo busybox"
    look = terminal(f"{other}; echo kept > kept.txt; cat kept.txt; pwd")
    conversation_id = own_box(server, sessions, look, image=image)
    assert box_of(server, conversation_id)["options"]["image"] == image
    assert text_of(terminals(server, conversation_id)[0]).split()[-3:] == ["busybox", "kept", "/workspace"]


def small_root(folder: Path) -> Path:
    """A root file system with a shell and little else."""
    for name in ("bash", "sh", "cat", "ls", "mkdir", "rm", "mv", "chmod", "id", "hostname", "env"):
        program = Path(shutil.which(name, path="/usr/bin:/bin") or "").resolve()
        libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(0x", libraries):
            (folder / library[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(Path(library).resolve(), folder / library[1:])
        (folder / "bin").mkdir(exist_ok=True)
        shutil.copy2(program, folder / "bin" / name)
    (folder / "etc").mkdir()
    for made in [folder, *folder.glob("**/")]:
        made.chmod(0o755)
    return folder


@in_boxes
@pytest.mark.parametrize(
    ("sandbox", "words"),
    [
        ({"resource_limits": {"memory": "lots"}}, "lots"),
        ({"resource_limits": {"memory": "1k"}}, "memory"),
        ({"resource_limits": {"cpus": 0}}, "cpus"),
        ({"resource_limits": {"pids": 1}}, "pids"),
        ({"resource_limits": {"ram": "1g"}}, "ram"),
        ({"allowed_hosts": ["http://example.com/"]}, "example.com"),
        ({"allowed_hosts": ["example.com"], "network_mode": "bridge"}, "network_mode"),
        ({"network_mode": "host"}, "host"),
        ({"backend": "podman"}, "podman"),
        ({"backend": "local"}, "local"),
        ({"timeout": -1}, "timeout"),
        ({"idle_timeout": 10**12}, "idle_timeout"),
        ({"env": {"A=B": "s3cr3t-value"}}, "A=B"),
        ({"no_such_option": 1}, "no_such_option"),
    ],
    ids=str,
)
def test_bad_options_are_refused_in_words(
    server: Server, sessions: Sessions, sandbox: dict[str, Any], words: str
) -> None:
    before = server.api.get("/api/conversations/count").json()
    refused = ask(server, sessions, sessions.models.new(), **sandbox)
    assert refused.status_code == 422, refused.text
    assert words in refused.text and "s3cr3t-value" not in refused.text
    assert server.api.get("/api/conversations/count").json() == before


@in_boxes
def test_what_goes_beyond_the_operators_limits_is_refused(own_server: Make, sessions: Sessions) -> None:
    text = '[sandbox]\nresource_limits = { memory = "256m" }\nallowed_hosts = ["example.com"]\n'
    server = configured(own_server, text)
    for sandbox, words in (
        ({"resource_limits": {"memory": "512m"}}, "256m"),
        ({"allowed_hosts": ["example.org"]}, "example.com"),
        ({"network_mode": "bridge"}, "example.com"),
    ):
        refused = ask(server, sessions, sessions.models.new(), **sandbox)
        assert refused.status_code == 422 and words in refused.text, refused.text
    allowed = own_box(server, sessions, terminal("echo fine"), resource_limits={"memory": "128m"})
    assert box_of(server, allowed)["options"]["resource_limits"]["memory"] == "128m"
    assert box_of(server, allowed)["options"]["allowed_hosts"] == ["example.com"]


@in_boxes
def test_a_box_that_cannot_be_made_is_told(server: Server, sessions: Sessions) -> None:
    """Whether an image is there is found when it is needed, not when the conversation is created."""
    model = sessions.models.new(terminal("echo never"), finish())
    created = ask(server, sessions, model, image="longshore-test/no-such-image")
    if created.status_code == 422:
        assert "no-such-image" in created.text
        return
    conversation_id = created.json()["id"]
    start(server, conversation_id)
    wait_for_status(server, conversation_id, "finished")
    told = [event for event in logged_events(server, conversation_id) if "no-such-image" in str(event)]
    assert {event["kind"] for event in told} >= {"AgentErrorEvent", "ConversationStateUpdateEvent"}
    assert "no-such-image" in str(model.requests[1]["messages"][-1]), "the model was not told"
    box = box_of(server, conversation_id)
    assert box["state"] == "failed" and "no-such-image" in box["reason"]
    assert status_of(server, conversation_id) == "finished"


@pytest.mark.skipif(IN_BOXES or IS_REFERENCE, reason="this is about our server without boxes")
def test_what_cannot_be_kept_without_isolation_is_refused(server: Server, sessions: Sessions) -> None:
    for sandbox in (
        {"resource_limits": {"memory": "512m"}},
        {"allowed_hosts": ["example.com"]},
        {"image": "debian"},
        {"network_mode": "none"},
        {"backend": "docker"},
    ):
        refused = ask(server, sessions, sessions.models.new(), **sandbox)
        assert refused.status_code == 422 and "local" in refused.text, refused.text
