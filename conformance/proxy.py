"""A TCP proxy on loopback that passes everything on and cuts WebSocket connections after a fixed time."""

from __future__ import annotations

import asyncio
import threading


class CuttingProxy:
    """Every WebSocket through it lives `seconds`; plain HTTP is left alone."""

    def __init__(self, target_port: int, seconds: float) -> None:
        self.target_port = target_port
        self.seconds = seconds
        self.cuts = 0
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self.loop)
        listener = self.loop.run_until_complete(asyncio.start_server(self._connection, "127.0.0.1", 0))
        self.port: int = listener.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()
        listener.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    async def _connection(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            head = await client.readuntil(b"\r\n\r\n")
            server, to_server = await asyncio.open_connection("127.0.0.1", self.target_port)
        except (OSError, asyncio.IncompleteReadError):
            to_client.close()
            return
        to_server.write(head)
        flows = asyncio.gather(_flow(client, to_server), _flow(server, to_client), return_exceptions=True)
        try:
            if b"upgrade: websocket" in head.lower():
                await asyncio.wait_for(flows, self.seconds)
            else:
                await flows
        except (TimeoutError, asyncio.CancelledError):
            self.cuts += 1
        finally:
            for writer in (to_client, to_server):
                writer.transport.abort()


async def _flow(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.write_eof()
    except OSError:
        sink.transport.abort()
