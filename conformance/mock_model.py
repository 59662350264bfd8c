"""A scripted model behind an OpenAI-compatible chat-completions endpoint.

Every test owns a model name with a list of turns; each request that offers tools takes the next turn. Requests without
tools (titles, summaries, questions beside the run) are answered from `aside`, so they never consume a turn.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Turn:
    """One answer of the model."""

    text: str | None = None
    calls: list[tuple[str, str]] = field(default_factory=list)
    delay: float = 0.0
    hang: bool = False
    status: int = 200
    error: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    repeat: bool = False


def call(tool: str, **arguments: Any) -> Turn:
    """The model calls one tool."""
    return calls((tool, arguments))


def calls(*pairs: tuple[str, dict[str, Any] | str], text: str | None = None) -> Turn:
    """The model calls several tools in one answer. Arguments given as text are sent as they are, valid or not."""
    encoded = [(name, args if isinstance(args, str) else json.dumps(args)) for name, args in pairs]
    return Turn(text=text, calls=encoded)


def terminal(command: str, **more: Any) -> Turn:
    return call("terminal", command=command, **more)


def finish(message: str = "done") -> Turn:
    return call("finish", message=message)


def say(text: str) -> Turn:
    return Turn(text=text)


def after(delay: float, turn: Turn) -> Turn:
    """The same turn, answered `delay` seconds late."""
    turn.delay = delay
    return turn


def forever(turn: Turn) -> Turn:
    """A turn that is never used up."""
    turn.repeat = True
    return turn


def hang() -> Turn:
    """Accept the request and never answer it."""
    return Turn(hang=True)


def failure(status: int, error: str, **headers: str) -> Turn:
    return Turn(status=status, error=error, headers={k.replace("_", "-"): v for k, v in headers.items()})


Script = Turn | Callable[[dict[str, Any]], Turn]


@dataclass
class Model:
    """One scripted model: its remaining turns and the requests it has seen."""

    name: str
    turns: list[Script]
    aside: str = "A short title"
    requests: list[dict[str, Any]] = field(default_factory=list)
    asides: list[dict[str, Any]] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def extend(self, *turns: Script) -> None:
        with self.arrived:
            self.turns.extend(turns)

    def wait_for_requests(self, count: int, timeout: float = 30) -> None:
        """Return when `count` requests have arrived (they may still be unanswered)."""
        with self.arrived:
            if not self.arrived.wait_for(lambda: len(self.requests) >= count, timeout):
                raise AssertionError(
                    f"model {self.name} saw {len(self.requests)} requests, not {count}, in {timeout} s"
                )

    def answer(self, body: dict[str, Any]) -> Turn:
        with self.arrived:
            if not body.get("tools"):
                self.asides.append(body)
                return Turn(text=self.aside)
            self.requests.append(body)
            self.arrived.notify_all()
            if not self.turns:
                return failure(400, f"the script of model {self.name} has no turn left")
            script = self.turns[0]
            turn = script(body) if callable(script) else script
            if not turn.repeat:
                self.turns.pop(0)
            return turn


class MockModels:
    """The HTTP server and the models behind it. An address other than loopback is for servers in containers."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.models: dict[str, Model] = {}
        self.numbers = itertools.count(1)
        self.stopping = threading.Event()
        owner = self

        class Handler(_Handler):
            mock = owner

        self.server = ThreadingHTTPServer((address, 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://{address}:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def new(self, *turns: Script) -> Model:
        model = Model(f"scripted-{next(self.numbers)}", list(turns))
        self.models[model.name] = model
        return model

    def stop(self) -> None:
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    mock: MockModels
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model = self.mock.models.get(body.get("model", ""))
        turn = model.answer(body) if model else failure(404, f"model {body.get('model')!r} does not exist")
        if turn.hang:
            self.wait_until_client_leaves()
            return
        if turn.delay:
            self.mock.stopping.wait(turn.delay)
        try:
            if turn.status != 200:
                self.send_json(
                    turn.status, {"error": {"message": turn.error, "type": "mock", "code": None}}, turn.headers
                )
            elif body.get("stream"):
                self.send_stream(body, turn)
            else:
                self.send_json(200, completion(body, turn), turn.headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def wait_until_client_leaves(self) -> None:
        self.connection.settimeout(0.1)
        while not self.mock.stopping.is_set():
            try:
                if not self.connection.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self.close_connection = True

    def send_json(self, status: int, value: dict[str, Any], headers: dict[str, str]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def send_stream(self, body: dict[str, Any], turn: Turn) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for chunk in chunks(body, turn):
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: Any) -> None:
        pass


_ids = itertools.count(1)


def completion(body: dict[str, Any], turn: Turn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": turn.text}
    if turn.calls:
        message["tool_calls"] = [
            {"id": f"call_{next(_ids)}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for name, arguments in turn.calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if turn.calls else "stop"}
    return {
        "id": f"chatcmpl-{next(_ids)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [choice],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


def chunks(body: dict[str, Any], turn: Turn) -> list[dict[str, Any]]:
    """The same answer in pieces: text word by word, arguments cut in the middle."""
    head = {
        "id": f"chatcmpl-{next(_ids)}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": body["model"],
    }
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in _words(turn.text or "")]
    for index, (name, arguments) in enumerate(turn.calls):
        middle = len(arguments) // 2
        function = {"name": name, "arguments": arguments[:middle]}
        deltas.append(
            {"tool_calls": [{"index": index, "id": f"call_{next(_ids)}", "type": "function", "function": function}]}
        )
        deltas.append({"tool_calls": [{"index": index, "function": {"arguments": arguments[middle:]}}]})
    pieces = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    pieces.append(
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if turn.calls else "stop"}]}
    )
    if (body.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        pieces.append({**head, "choices": [], "usage": usage})
    return pieces


def _words(text: str) -> list[str]:
    return [word + " " for word in text.split(" ")[:-1]] + [text.split(" ")[-1]] if text else []
