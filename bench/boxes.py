"""Boxes beside their floors, over the wire: python bench/boxes.py RESULTS.json path/to/longshore

Needs root, bubblewrap and, for the Docker part, DOCKER_HOST with the image named by BENCH_IMAGE
(longshore-test/debian, made by scripts/engine images). BENCH_ONLY=bubblewrap,docker,... limits what is measured.
Every figure stands beside its floor, which is measured in the same run, alternating with it.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

IMAGE = os.environ.get("BENCH_IMAGE", "longshore-test/debian")
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "40"))
BOXES = int(os.environ.get("BENCH_BOXES", "200"))
FILE_BYTES = 512 << 20
BWRAP_TRUE = (
    "bwrap --unshare-all --ro-bind /usr /usr --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev "
    "/usr/bin/true"
).split()


class Server:
    """A Longshore server on a port of its own, with a fresh data folder."""

    def __init__(self, binary: str, sandbox: str, config: str = "") -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="bench-boxes-")
        path = Path(self.folder.name)
        (path / "longshore.toml").write_text(config)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.before_start(path / "data")
        command = [binary, "serve", "--port", str(self.port), "--data-dir", str(path / "data"), "--sandbox", sandbox]
        command += ["--config", str(path / "longshore.toml"), "--sandbox-on-shutdown", "destroy"]
        self.log = open(path / "log", "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=path)
        deadline = time.monotonic() + 30
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((path / "log").read_text()[-2000:])
            time.sleep(0.01)

    def before_start(self, data: Path) -> None:
        """Prepares the data folder; nothing by default."""

    def is_up(self) -> bool:
        try:
            return self.request("GET", "/health")[0] == 200
        except OSError:
            return False

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def request(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = self.connection()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, data

    def conversation(self, **sandbox: object) -> str:
        """A conversation with a box of its own, which is not made yet."""
        body = {
            "agent": {"kind": "Agent", "llm": {"model": "scripted/none", "usage_id": "agent"}, "tools": []},
            "workspace": {"kind": "LocalWorkspace", "working_dir": "/workspace", "sandbox": sandbox},
        }
        status, data = self.request("POST", "/api/conversations", body)
        assert status == 201, data
        return str(uuid.UUID(json.loads(data)["id"]))

    def execute(self, command: str, conversation: str | None = None) -> str:
        scope = f"/conversations/{conversation}" if conversation else ""
        status, data = self.request("POST", f"/api{scope}/bash/execute_bash_command", {"command": command})
        answer = json.loads(data)
        assert status == 200 and answer["exit_code"] == 0, data
        return answer["stdout"] or ""

    def delete(self, conversation: str) -> None:
        assert self.request("DELETE", f"/api/conversations/{conversation}")[0] == 200

    def rss(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()
        self.folder.cleanup()


@contextmanager
def serving(*arguments: str) -> Iterator[Server]:
    server = Server(*arguments)
    try:
        yield server
    finally:
        server.stop()


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def spread(times: list[float]) -> dict[str, float]:
    times = sorted(times)
    return {"p50": round(statistics.median(times), 2), "p90": round(times[int(len(times) * 0.9)], 2), "n": len(times)}


def beside(rounds: int, work: Callable[[], float], floor: Callable[[], float]) -> dict[str, object]:
    """Both in turn, so that what else the machine does falls on both."""
    measured, below = [], []
    for _ in range(rounds):
        measured.append(work())
        below.append(floor())
    return {"ms": spread(measured), "floor_ms": spread(below)}


def first_command(server: Server) -> float:
    """From the wish for a box to the end of the first command in it; the box is removed afterwards."""
    conversation = server.conversation()
    time_taken = timed(lambda: server.execute("true", conversation))
    server.delete(conversation)
    return time_taken


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def bubblewrap(binary: str) -> dict[str, object]:
    with serving(binary, "bubblewrap") as server:
        first_command(server)
        return beside(ROUNDS, lambda: first_command(server), lambda: timed(lambda: run(*BWRAP_TRUE)))


def docker(binary: str) -> dict[str, object]:
    with serving(binary, f"docker:{IMAGE}") as server:
        first_command(server)
        floor = lambda: timed(lambda: run("docker", "run", "--rm", "--network", "none", "--init", IMAGE, "true"))
        return beside(max(ROUNDS // 4, 5), lambda: first_command(server), floor)


def pool(binary: str, sandbox: str) -> dict[str, object]:
    """Boxes that wait. A moment is given for the pool to fill again."""
    with serving(binary, sandbox, "[[pool]]\nsize = 2\n") as server:
        time.sleep(3)
        times = []
        for _ in range(max(ROUNDS // 4, 5)):
            times.append(first_command(server))
            time.sleep(2)
        return {"ms": spread(times)}


def command(binary: str, sandbox: str) -> dict[str, object]:
    with serving(binary, sandbox) as inside, serving(binary, "local") as outside:
        for server in (inside, outside):
            server.execute("true")
        return beside(
            ROUNDS * 10, lambda: timed(lambda: inside.execute("true")), lambda: timed(lambda: outside.execute("true"))
        )


def throughput(binary: str, sandbox: str) -> dict[str, object]:
    """A file down and up, in MB/s, through the whole server; the floor is the same server without a box."""
    with serving(binary, sandbox) as inside, serving(binary, "local") as outside:
        folder = Path(outside.folder.name)
        places = [(inside, "/workspace/file"), (outside, str(folder / "file"))]
        results: dict[str, list[float]] = {}
        for server, path in places:
            server.execute(f"head -c {FILE_BYTES} /dev/zero > {path}; cat {path} > /dev/null")
        for _ in range(5):
            for name, (server, path) in zip(("", "floor_"), places, strict=True):
                results.setdefault(f"{name}down", []).append(rate(lambda: download(server, path)))
                results.setdefault(f"{name}up", []).append(rate(lambda: upload(server, f"{path}.up")))
        return {name: round(statistics.median(rates)) for name, rates in results.items()}


def rate(work: Callable[[], int]) -> float:
    began = time.perf_counter()
    count = work()
    return count / 1e6 / (time.perf_counter() - began)


def download(server: Server, path: str) -> int:
    connection = server.connection()
    connection.request("GET", f"/api/file/download?path={path}")
    response = connection.getresponse()
    assert response.status == 200
    count, buffer = 0, bytearray(1 << 20)
    while read := response.readinto(buffer):
        count += read
    connection.close()
    assert count == FILE_BYTES
    return count


def upload(server: Server, path: str) -> int:
    boundary = "bench"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'.encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    chunk = bytes(1 << 20)
    connection = server.connection()
    connection.putrequest("POST", f"/api/file/upload?path={path}")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={boundary}")
    connection.putheader("Content-Length", str(len(head) + FILE_BYTES + len(tail)))
    connection.endheaders()
    connection.send(head)
    for _ in range(FILE_BYTES // len(chunk)):
        connection.send(chunk)
    connection.send(tail)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    response.read()
    connection.close()
    return FILE_BYTES


def alive(binary: str, sandbox: str) -> dict[str, object]:
    """The server's memory for each box that is alive."""
    with serving(binary, sandbox) as server:
        server.execute("true")
        before = server.rss()
        conversations = [server.conversation() for _ in range(BOXES)]
        conversation_rss = server.rss()
        began = time.perf_counter()
        for conversation in conversations:
            server.execute("true", conversation)
        took = time.perf_counter() - began
        return {
            "boxes": BOXES,
            "server_mb_each": round((server.rss() - before) / 1e6 / BOXES, 3),
            "of_it_conversations_mb_each": round((conversation_rss - before) / 1e6 / BOXES, 3),
            "made_per_second": round(BOXES / took, 1),
        }


def main() -> None:
    target, binary = sys.argv[1], str(Path(sys.argv[2]).resolve())
    kinds = {"bubblewrap": "bubblewrap", "docker": f"docker:{IMAGE}"}
    measurements: dict[str, Callable[[], dict[str, object]]] = {
        "bubblewrap": lambda: bubblewrap(binary),
        "docker": lambda: docker(binary),
    }
    for kind, sandbox in kinds.items():
        measurements[f"pool_{kind}"] = lambda sandbox=sandbox: pool(binary, sandbox)
        measurements[f"command_{kind}"] = lambda sandbox=sandbox: command(binary, sandbox)
        measurements[f"throughput_{kind}"] = lambda sandbox=sandbox: throughput(binary, sandbox)
    measurements["alive_bubblewrap"] = lambda: alive(binary, "bubblewrap")
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
