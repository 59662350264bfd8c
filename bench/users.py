"""Many users on one server, over the wire: python bench/users.py RESULTS.json path/to/longshore

Needs root and bubblewrap, and for the Docker part DOCKER_HOST with the image named by BENCH_IMAGE. BENCH_ONLY=load or
neighbour limits what is measured. Models are scripted and in the server, so that no provider is measured.

load       1 000 keys of 100 users, 500 conversations, 100 runs at the same time, with /health asked all the while
neighbour  commands of one user, alone and beside another user who rages (fork bomb, full disk, busy loops), in turn
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boxes

USERS = int(os.environ.get("BENCH_USERS", "100"))
KEYS = int(os.environ.get("BENCH_KEYS", "1000"))
CONVERSATIONS = int(os.environ.get("BENCH_CONVERSATIONS", "500"))
RUNS = int(os.environ.get("BENCH_RUNS", "100"))
STEPS = 10
COMMANDS = int(os.environ.get("BENCH_COMMANDS", "300"))

STORMS = {
    "fork_bomb": "bomb() { bomb | bomb & }; bomb; sleep 1000",
    "full_disk": "while :; do dd if=/dev/zero of=/workspace/full bs=1M; rm -f /workspace/full; done 2>/dev/null",
    "busy_loop": "for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; wait",
}
LIMITS = '[sandbox]\nresource_limits = { memory = "256m", pids = 100, disk = "64m", cpus = 0.5 }\n'
UNLIMITED = (
    "[limits]\nreads_per_second = 100000\nreads_burst = 100000\nwrites_per_second = 100000\nwrites_burst = 100000\n"
    "address_requests_per_second = 100000\naddress_requests_burst = 100000\n"
)


class Shared(boxes.Server):
    """A server with users, who were added before its start."""

    def __init__(self, binary: str, sandbox: str, config: str) -> None:
        self.binary = binary
        self.keys: list[str] = []
        super().__init__(binary, sandbox, config)

    def before_start(self, data: Path) -> None:
        models = data.parent / "models"
        models.mkdir()
        # Each step differs from the others: an agent that repeats itself is stopped.
        step = lambda tool, **arguments: {"tool_calls": [{"name": tool, "arguments": arguments}]}
        steps = []
        for number in range(STEPS):
            steps += [step("think", thought=f"step {number}"), step("terminal", command=f"sleep 0.2; echo {number}")]
        finish = step("finish", message="done")
        (models / "worker.json").write_text(json.dumps([*steps, finish]))
        os.environ["LONGSHORE_MODELS_DIR"] = str(models)
        self.manage(data, "user", "add", "root", "--role", "admin")
        self.admin = self.manage(data, "key", "create", "--user", "root", "--scope", "admin")

    def manage(self, data: Path, *arguments: str) -> str:
        command = [self.binary, *arguments, "--data-dir", str(data)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def ask(self, key: str, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        return ask(self.connection(), key, method, path, body)

    def add(self, users: int, keys: int) -> None:
        connection = self.connection()
        for user in range(users):
            assert ask(connection, self.admin, "POST", "/admin/users", {"name": f"user-{user}"})[0] == 201
        for number in range(keys):
            path = f"/admin/users/user-{number % users}/keys"
            status, data = ask(connection, self.admin, "POST", path, {})
            assert status == 201, data
            self.keys.append(json.loads(data)["key"])


def ask(connection: http.client.HTTPConnection, key: str, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {key}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    return response.status, response.read()


def percentiles(times: list[float]) -> dict[str, float]:
    times = sorted(times)
    at = lambda share: round(times[min(int(len(times) * share), len(times) - 1)], 2)
    return {"p50": round(statistics.median(times), 2), "p90": at(0.9), "p99": at(0.99), "max": at(1), "n": len(times)}


def load(binary: str) -> dict[str, object]:
    server = Shared(binary, "bubblewrap", UNLIMITED + "[lifecycle]\nmax_boxes = 1000\n")
    try:
        began = time.perf_counter()
        server.add(USERS, KEYS)
        keys_took = time.perf_counter() - began

        def create(number: int) -> tuple[str, str]:
            key = server.keys[number % KEYS]
            tools = [{"name": "terminal"}]
            agent = {"kind": "Agent", "llm": {"model": "scripted/worker.json", "usage_id": "agent"}, "tools": tools}
            body = {"agent": agent, "workspace": {"working_dir": "/workspace"}, "autotitle": False}
            status, data = server.ask(key, "POST", "/api/conversations", body)
            assert status == 201, data
            return key, json.loads(data)["id"]

        began = time.perf_counter()
        with ThreadPoolExecutor(8) as pool:
            conversations = list(pool.map(create, range(CONVERSATIONS)))
        created_took = time.perf_counter() - began

        is_over = threading.Event()
        health: list[float] = []
        reads: list[float] = []

        def probe(times: list[float], path: str, pause: float) -> None:
            connection, number = server.connection(), 0
            while not is_over.is_set():
                key = server.keys[number % KEYS]
                times.append(boxes.timed(lambda: ask(connection, key, "GET", path)))
                number += 1
                time.sleep(pause)

        probes = [
            threading.Thread(target=probe, args=(health, "/health", 0.005)),
            threading.Thread(target=probe, args=(reads, "/api/conversations/search?limit=10", 0.01)),
        ]
        message = {"role": "user", "content": [{"type": "text", "text": "go"}], "run": True}
        for thread in probes:
            thread.start()
        began = time.perf_counter()
        running = conversations[:RUNS]
        for key, conversation in running:
            status, data = server.ask(key, "POST", f"/api/conversations/{conversation}/events", message)
            assert status == 200, data
        waiting, most = dict((conversation, key) for key, conversation in running), 0
        while waiting:
            states = {}
            for conversation, key in waiting.items():
                data = json.loads(server.ask(key, "GET", f"/api/conversations/{conversation}")[1])
                states[conversation] = data["execution_status"]
            most = max(most, sum(state == "running" for state in states.values()))
            assert not {"error", "stuck"} & set(states.values()), states
            waiting = {one: key for one, key in waiting.items() if states[one] != "finished"}
            time.sleep(0.05)
        took = time.perf_counter() - began
        is_over.set()
        for thread in probes:
            thread.join()
        return {
            "keys_per_second": round(KEYS / keys_took),
            "conversations_per_second": round(CONVERSATIONS / created_took),
            "runs": RUNS,
            "most_running_seen": most,
            "all_runs_s": round(took, 2),
            "steps_per_second": round(RUNS * (2 * STEPS + 1) / took),
            "health_ms": percentiles(health),
            "list_ms": percentiles(reads),
            "rss_mb": round(server.rss() / 1e6, 1),
        }
    finally:
        server.stop()


def neighbour(binary: str, sandbox: str) -> dict[str, object]:
    """Commands of Bob while Ann rages, beside commands of Bob alone, in turn: a ratio that the machine's mood leaves out."""
    server = Shared(binary, sandbox, LIMITS + UNLIMITED)
    try:
        server.add(2, 2)
        ann, bob = server.keys
        path = "/api/bash/execute_bash_command"
        work = lambda: server.ask(bob, "POST", path, {"command": "echo x > x && cat x"})
        for key in (ann, bob):
            assert server.ask(key, "POST", path, {"command": "true"})[0] == 200
        results = {}
        for name, storm in STORMS.items():
            alone, beside = [], []
            for _ in range(3):
                alone += [boxes.timed(work) for _ in range(COMMANDS // 3)]
                status, data = server.ask(ann, "POST", "/api/bash/start_bash_command", {"command": storm, "timeout": 600})
                assert status == 200, data
                time.sleep(1)
                beside += [boxes.timed(work) for _ in range(COMMANDS // 3)]
                # Whatever the storm has left of it: the box and its files go.
                assert server.ask(ann, "DELETE", "/api/sandbox")[0] == 200
                assert server.ask(ann, "POST", path, {"command": "true"})[0] == 200
            ratio = percentiles(beside)["p99"] / percentiles(alone)["p99"]
            results[name] = {"beside_ms": percentiles(beside), "alone_ms": percentiles(alone), "p99_ratio": round(ratio, 2)}
        return results
    finally:
        server.stop()


def main() -> None:
    target, binary = sys.argv[1], str(Path(sys.argv[2]).resolve())
    measurements: dict[str, Callable[[], dict[str, object]]] = {
        "load": lambda: load(binary),
        "neighbour_bubblewrap": lambda: neighbour(binary, "bubblewrap"),
        "neighbour_docker": lambda: neighbour(binary, f"docker:{boxes.IMAGE}"),
    }
    only = [name for name in os.environ.get("BENCH_ONLY", "").split(",") if name]
    results = {}
    for name, measure in measurements.items():
        if only and not any(name.startswith(wanted) for wanted in only):
            continue
        results[name] = measure()
        print(name, json.dumps(results[name]), flush=True)
        Path(target).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
