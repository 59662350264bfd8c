"""Starting the server: names, flags, keys, and servers side by side."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable

import pytest

from agents import Sessions, create, logged_events, start, wait_for_status
from mock_model import finish, terminal
from server import COMMAND, Server, free_port, split

Make = Callable[..., Server]
PROGRAM = split(COMMAND)[0]


def test_two_servers_never_meet(own_server: Make, sessions: Sessions) -> None:
    one, two = own_server().start(), own_server(keys=("key-two",)).start()
    agent = sessions.agent(sessions.models.new(terminal("echo one"), finish()))
    conversation_id = create(one, agent)
    start(one, conversation_id)
    wait_for_status(one, conversation_id, "finished")
    assert two.api.get(f"/api/conversations/{conversation_id}").status_code == 404
    assert two.api.get("/api/conversations/count").json() == 0
    two.restart()
    assert two.api.get("/api/conversations/count").json() == 0
    assert len(logged_events(one, conversation_id)) > 5


@pytest.mark.parametrize("name", ["agent-server", "openhands-agent-server"])
def test_official_program_names_serve(own_server: Make, sessions: Sessions, name: str) -> None:
    server = own_server(command="")
    link = server.root / name
    link.symlink_to(PROGRAM)
    server.command = f"{link} --port {{port}}"
    server.start()
    conversation_id = create(server, sessions.agent(sessions.models.new(finish())))
    start(server, conversation_id)
    wait_for_status(server, conversation_id, "finished")
    assert any((server.root / "data").iterdir()) or any((server.root / "cwd").iterdir()), (
        "the state is not below OH_PERSISTENCE_DIR"
    )


def test_official_flags_are_accepted(own_server: Make) -> None:
    server = own_server(command=f"{COMMAND} --host 127.0.0.1 --reload").start()
    assert server.api.get("/server_info").status_code == 200


@pytest.mark.upstream_defect("no --workers")
def test_workers_flag_is_accepted(own_server: Make) -> None:
    server = own_server(command=f"{COMMAND} --workers 4").start()
    assert server.api.get("/server_info").status_code == 200


@pytest.mark.upstream_defect("only warns")
def test_no_key_on_an_open_address_needs_a_flag(own_server: Make) -> None:
    """Without a key everybody who can reach the port can run commands, so that must be said explicitly."""
    server = own_server(keys=(), command=f"{COMMAND} --host 0.0.0.0")
    try:
        refused = subprocess.run(
            server.command_line(), env=server.env, cwd=server.root / "cwd", capture_output=True, text=True, timeout=30
        )
    except subprocess.TimeoutExpired:
        pytest.fail("the server serves everybody without a key")
    assert refused.returncode != 0
    said = refused.stderr + refused.stdout
    flags = [flag for flag in re.findall(r"--[a-z][a-z-]+", said) if flag not in ("--host", "--port", "--data-dir")]
    assert flags, f"the message does not name the flag that allows it: {said}"
    server.command += f" {flags[0]}"
    server.start()
    assert server.api.get("/api/conversations/count").status_code == 200


def test_no_key_on_loopback_is_open(own_server: Make) -> None:
    server = own_server(keys=()).start()
    assert server.api.get("/api/conversations/count").status_code == 200


@pytest.mark.parametrize(
    "settings",
    [
        {"OH_SESSION_API_KEYS_0": "first", "OH_SESSION_API_KEYS_1": "second"},
        {"OH_SESSION_API_KEYS": json.dumps(["first", "second"])},
        {"SESSION_API_KEY": "first"},
    ],
    ids=["numbered", "json", "single"],
)
def test_every_form_of_key_is_accepted(own_server: Make, settings: dict[str, str]) -> None:
    server = own_server(keys=(), env=settings).start()
    keys = [key for key in ("first", "second") if key in str(settings)]
    for key in keys:
        assert status_with(server, key) == 200
    for wrong in ("", "third", "firs", "FIRST", "first,second"):
        assert status_with(server, wrong) == 401
    assert server.api.get("/health").status_code == 200


@pytest.mark.upstream_defect("one form only")
def test_keys_of_several_forms_add_up(own_server: Make) -> None:
    server = own_server(keys=("numbered",), env={"SESSION_API_KEY": "single"}).start()
    assert [status_with(server, key) for key in ("numbered", "single", "other")] == [200, 200, 401]


@pytest.mark.upstream_defect("no bearer on /api")
def test_key_as_bearer_token(own_server: Make) -> None:
    server = own_server().start()
    server.api.headers.pop("X-Session-API-Key")
    path = "/api/conversations/count"
    assert server.api.get(path).status_code == 401
    assert server.api.get(path, headers={"Authorization": f"Bearer {server.key}"}).status_code == 200
    assert server.api.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_port_in_use_is_an_error(own_server: Make) -> None:
    first = own_server().start()
    second = own_server()
    second.port = first.port
    ended = subprocess.run(
        second.command_line(), env=second.env, cwd=second.root / "cwd", capture_output=True, text=True, timeout=60
    )
    assert ended.returncode != 0 and str(first.port) in ended.stderr + ended.stdout


def test_unknown_flag_is_an_error() -> None:
    command = [*split(COMMAND.format(port=free_port(), dir="/nonexistent")), "--no-such-flag"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0 and "--no-such-flag" in ended.stderr


def status_with(server: Server, key: str) -> int:
    return server.api.get("/api/conversations/count", headers={"X-Session-API-Key": key}).status_code
