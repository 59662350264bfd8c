"""Two users of one server, each with the official SDK in a workspace of their own: what one does, the other neither sees
nor feels."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest
from openhands.sdk import Conversation, RemoteWorkspace, Workspace
from openhands.sdk.conversation.impl.remote_conversation import RemoteConversation
from openhands.sdk.conversation.state import ConversationExecutionStatus

from agents import Sessions
from boxes import IN_BOXES
from mock_model import Model, finish, terminal
from server import Server, split

pytestmark = pytest.mark.skipif(not IN_BOXES, reason="without isolation there are no users: see SANDBOX in the README")

CONFIG = """
[outbound]
allow = ["127.0.0.0/8"]

[sandbox]
resource_limits = { memory = "256m", pids = 100, disk = "32m", cpus = 0.5 }
"""
WORKSPACE = "/workspace"


@dataclass
class User:
    """Somebody with a key, and the official client."""

    server: Server
    name: str
    key: str

    @property
    def api(self) -> httpx.Client:
        return httpx.Client(base_url=self.server.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=120)

    def workspace(self) -> RemoteWorkspace:
        workspace = Workspace(host=self.server.url, api_key=self.key, working_dir=WORKSPACE)
        assert isinstance(workspace, RemoteWorkspace)
        return workspace

    def run(self, sessions: Sessions, model: Model) -> RemoteConversation:
        """The script of the documentation: a conversation, a message, a run."""
        conversation = Conversation(
            agent=sessions.agent(model), workspace=self.workspace(), visualizer=None, delete_on_close=False
        )
        conversation = sessions.keep(conversation)
        conversation.send_message("go")
        conversation.run()
        assert conversation.state.execution_status == ConversationExecutionStatus.FINISHED
        return conversation

    def sh(self, command: str, timeout: float = 60) -> tuple[int, str]:
        result = self.workspace().execute_command(command, timeout=timeout)
        return result.exit_code, result.stdout + result.stderr


class ServerOfUsers(Server):
    """A server whose users were added on the command line."""

    def __init__(self) -> None:
        super().__init__(keys=())
        (self.root / "longshore.toml").write_text(CONFIG)
        self.env["LONGSHORE_CONFIG"] = str(self.root / "longshore.toml")
        # /health is for everybody, so the harness needs no key.
        self.users = {name: self.add(name) for name in ("ann", "bob")}

    def longshore(self, *arguments: str) -> str:
        program = split(self.command.format(port=self.port, dir=self.root / "data"))[0]
        command = [program, *arguments, "--data-dir", str(self.root / "data")]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def add(self, name: str) -> User:
        self.longshore("user", "add", name)
        return User(self, name, self.longshore("key", "create", "--user", name))


@pytest.fixture(scope="module")
def shared() -> Iterator[ServerOfUsers]:
    server = ServerOfUsers()
    try:
        yield server.start()  # type: ignore[misc]
    finally:
        server.destroy()


@pytest.fixture
def ann(shared: ServerOfUsers) -> User:
    return shared.users["ann"]


@pytest.fixture
def bob(shared: ServerOfUsers) -> User:
    return shared.users["bob"]


def side_by_side(*work: Callable[[], object]) -> list[object]:
    with ThreadPoolExecutor(len(work)) as pool:
        return [future.result(timeout=180) for future in [pool.submit(one) for one in work]]


def test_both_run_the_official_script_at_the_same_time(sessions: Sessions, ann: User, bob: User) -> None:
    def script(user: User) -> RemoteConversation:
        model = sessions.models.new(
            terminal(f"echo {user.name} > mine; sleep 1; cat mine"), terminal("ls; hostname; whoami"), finish()
        )
        return user.run(sessions, model)

    of_ann, of_bob = side_by_side(lambda: script(ann), lambda: script(bob))
    assert isinstance(of_ann, RemoteConversation) and isinstance(of_bob, RemoteConversation)
    assert ann.sh("cat mine") == (0, "ann\n") and bob.sh("cat mine") == (0, "bob\n")
    assert ann.sh("ls /workspace")[1] == "mine\n"

    # Whatever Bob asks for by Ann's ids is not there, and no list shows it.
    with bob.api as api:
        for path in ("", "/events/search", "/agent_final_response", "/sandbox", "/file/download?path=/workspace/mine"):
            response = api.get(f"/api/conversations/{of_ann.id}{path}")
            assert response.status_code == 404, f"{path}: {response.text}"
        assert api.post(f"/api/conversations/{of_ann.id}/run").status_code == 404
        listed = api.get("/api/conversations/search").json()["items"]
        assert [item["id"] for item in listed] == [str(of_bob.id)]
        ours = api.get("/api/sandbox").json()["id"]
    with ann.api as api:
        assert api.get("/api/sandbox").json()["id"] != ours


def test_nobody_sees_the_processes_or_the_files_of_another(ann: User, bob: User) -> None:
    assert ann.sh("echo s3cr3t-of-ann > /tmp/secret; (setsid sleep 4321 >/dev/null 2>&1 &)")[0] == 0
    code, seen = bob.sh("cat /tmp/secret; ps ax 2>/dev/null || cat /proc/[0-9]*/cmdline; ls -la / /workspace /tmp; mount")
    assert "s3cr3t-of-ann" not in seen and "4321" not in seen, (code, seen)
    assert ann.sh("pkill -x sleep")[0] == 0


@pytest.mark.parametrize(
    "storm",
    [
        pytest.param("bomb() { bomb | bomb & }; bomb; sleep 5; true", id="fork bomb"),
        pytest.param("dd if=/dev/zero of=/workspace/full bs=1M count=200; true", id="full disk"),
        pytest.param("for i in 1 2 3 4 5 6 7 8; do (timeout 6 sh -c 'while :; do :; done' &) ; done; sleep 6", id="busy"),
        pytest.param("timeout 6 tail -c 1g /dev/zero; true", id="memory"),
    ],
)
def test_a_storm_at_one_is_none_at_the_other(storm: str, sessions: Sessions, ann: User, bob: User) -> None:
    """The other goes on working: every command does what it should, and so does a run of the agent."""
    bob.sh("rm -f kept")

    def work() -> None:
        for number in range(20):
            assert bob.sh(f"echo {number} >> kept && wc -l < kept") == (0, f"{number + 1}\n")
        bob.run(sessions, sessions.models.new(terminal("head -c 8m /dev/zero > filled && rm filled"), finish()))

    with ThreadPoolExecutor(1) as pool:
        raging = pool.submit(lambda: ann.api.post("/api/bash/execute_bash_command", json={"command": storm, "timeout": 30}))
        work()
        raging.result(timeout=180)
    # Ann has a box again, whatever became of it.
    ann.sh("rm -f /workspace/full; true")
    with ann.api as api:
        api.delete("/api/sandbox")
    assert ann.sh("echo works") == (0, "works\n")


def test_keys_open_what_they_are_for(shared: ServerOfUsers, ann: User) -> None:
    reader = shared.longshore("key", "create", "--user", "ann", "--scope", "read")
    headers = {"X-Session-API-Key": reader}
    with httpx.Client(base_url=shared.url, headers=headers, timeout=60) as api:
        assert api.get("/api/conversations/count").status_code == 200
        refused = api.post("/api/bash/execute_bash_command", json={"command": "true"})
        assert refused.status_code == 403 and "write" in refused.json()["detail"]
        assert api.get("/admin/users").status_code == 403
    assert httpx.get(f"{shared.url}/api/conversations/count").status_code == 401
    keys = [json.loads(line) for line in shared.longshore("key", "list", "--user", "ann", "--json").splitlines()]
    assert [key["scopes"] for key in keys] == [["read", "write"], ["read"]]
    assert not any(reader in json.dumps(key) for key in keys)
