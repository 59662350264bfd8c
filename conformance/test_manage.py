"""Titles, tags, listing, deletion."""

from __future__ import annotations

import uuid

import pytest

from agents import Sessions, create, status_of, wait_for
from mock_model import hang, say
from server import Server


def test_title(server: Server, sessions: Sessions) -> None:
    conversation = sessions.open(server, sessions.models.new())
    path = f"/api/conversations/{conversation.id}"
    before = server.api.get(path).json()["updated_at"]
    conversation.set_title("  A better title ")
    info = server.api.get(path).json()
    assert info["title"] == "A better title" and info["updated_at"] > before
    for bad in ("", "   ", "x" * 201):
        assert server.api.patch(path, json={"title": bad}).status_code == 422
    assert server.api.get(path).json()["title"] == "A better title"


def test_tags(server: Server, sessions: Sessions) -> None:
    conversation = sessions.open(server, sessions.models.new(), tags={"team": "blue"})
    path = f"/api/conversations/{conversation.id}"
    assert server.api.get(path).json()["tags"] == {"team": "blue"}
    assert server.api.patch(path, json={"tags": {"stage": "two"}}).status_code == 200
    assert server.api.get(path).json()["tags"] == {"stage": "two"}
    for bad in ({"Upper": "x"}, {"a-b": "x"}, {"a": "x" * 257}):
        assert server.api.patch(path, json={"tags": bad}).status_code == 422
    assert server.api.patch(path, json={}).status_code == 200
    assert server.api.get(path).json()["tags"] == {"stage": "two"}


@pytest.mark.upstream_defect("W22")
def test_tags_of_the_wrong_type_are_refused(server: Server, sessions: Sessions) -> None:
    conversation_id = create(server, sessions.agent(sessions.models.new()))
    assert server.api.patch(f"/api/conversations/{conversation_id}", json={"tags": "no"}).status_code == 422


def test_title_made_from_the_first_message(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(say("hello"))
    model.aside = "Greeting the user"
    conversation = sessions.open(server, model)
    conversation.send_message("Please greet me")
    conversation.run()
    path = f"/api/conversations/{conversation.id}"
    title = wait_for(lambda: server.api.get(path).json()["title"], "the automatic title")
    assert title in ("Greeting the user", "Please greet me")


def test_delete(server: Server, sessions: Sessions) -> None:
    folder = server.folder("kept")
    (folder / "file").write_text("mine")
    conversation = sessions.open(server, sessions.models.new(say("x")), folder=folder)
    path = f"/api/conversations/{conversation.id}"
    assert server.api.delete(path).status_code == 200
    assert server.api.get(path).status_code == 404
    assert server.api.delete(path).status_code == 404
    assert server.api.post(f"{path}/run").status_code == 404
    assert server.api.get(f"{path}/events/search").status_code == 404
    assert (folder / "file").read_text() == "mine", "deleting a conversation deleted the user's work"


def test_delete_during_a_run(server: Server, sessions: Sessions) -> None:
    model = sessions.models.new(hang())
    conversation = sessions.open(server, model)
    conversation.send_message("go")
    conversation.run(blocking=False)
    model.wait_for_requests(1)
    assert server.api.delete(f"/api/conversations/{conversation.id}").status_code == 200
    assert server.api.get(f"/api/conversations/{conversation.id}").status_code == 404


def test_search_pages_through_all(server: Server, sessions: Sessions) -> None:
    agent = sessions.agent(sessions.models.new())
    made = {create(server, agent) for _ in range(7)}
    seen: list[str] = []
    page = None
    while True:
        query = {"limit": 3} | ({"page_id": page} if page else {})
        answer = server.api.get("/api/conversations/search", params=query).json()
        assert len(answer["items"]) <= 3
        seen += [item["id"] for item in answer["items"]]
        if not (page := answer["next_page_id"]):
            break
    assert len(seen) == len(set(seen)) and made <= set(seen)
    assert server.api.get("/api/conversations/count").json() == len(seen)
    times = [server.api.get(f"/api/conversations/{identity}").json()["created_at"] for identity in seen]
    assert times == sorted(times, reverse=True)
    assert server.api.get("/api/conversations/search", params={"limit": 101}).status_code == 422
    assert server.api.get("/api/conversations/search", params={"status": "bogus"}).status_code == 422


def test_batch_has_holes_for_what_is_not_there(server: Server, sessions: Sessions) -> None:
    known = create(server, sessions.agent(sessions.models.new()))
    answer = server.api.get("/api/conversations", params={"ids": [known, str(uuid.uuid4())]}).json()
    assert answer[0]["id"] == known and answer[1] is None


def test_event_queries(server: Server, sessions: Sessions) -> None:
    conversation = sessions.open(server, sessions.models.new(say("The Needle is here"), say("other")))
    for text in ("one", "two"):
        conversation.send_message(text)
        conversation.run()
    base = f"/api/conversations/{conversation.id}/events"

    def search(**query: object) -> list[dict[str, object]]:
        response = server.api.get(f"{base}/search", params=query)
        assert response.status_code == 200, response.text
        return response.json()["items"]

    everything = search()
    assert search(sort_order="TIMESTAMP_DESC") == everything[::-1]
    assert {event["kind"] for event in search(kind="MessageEvent")} == {"MessageEvent"}
    assert {event["source"] for event in search(source="agent")} == {"agent"}
    assert len(search(body="needle")) == 1
    middle = everything[len(everything) // 2]
    assert search(timestamp__gte=middle["timestamp"])[0]["id"] == middle["id"]
    assert server.api.get(f"{base}/count").json() == len(everything)
    assert server.api.get(f"{base}/count", params={"kind": "MessageEvent"}).json() == 4
    batch = server.api.request("GET", base, json=[everything[0]["id"], str(uuid.uuid4())]).json()
    assert batch[0]["id"] == everything[0]["id"] and batch[1] is None
    assert server.api.get(f"{base}/{uuid.uuid4()}").status_code == 404


@pytest.mark.parametrize("path", ["/api/conversations/notauuid", "/api/conversations/notauuid/events/search"])
def test_bad_ids_are_explained(server: Server, path: str) -> None:
    response = server.api.get(path)
    assert response.status_code == 422 and response.json()["detail"][0]["loc"] == ["path", "conversation_id"]


def test_bad_bodies_are_explained(server: Server, sessions: Sessions) -> None:
    assert (
        server.api.post(
            "/api/conversations", content=b"{broken", headers={"content-type": "application/json"}
        ).status_code
        == 422
    )
    no_agent = server.api.post("/api/conversations", json={"workspace": {"working_dir": "/tmp/x"}})
    assert no_agent.status_code == 422 and "agent" in no_agent.text
    conversation_id = create(server, sessions.agent(sessions.models.new()))
    path = f"/api/conversations/{conversation_id}/events"
    assert server.api.post(path, json={"role": "user", "content": "text"}).status_code == 422
    assert server.api.get(f"{path}/search", params={"limit": 0}).status_code == 422
    assert status_of(server, conversation_id) == "idle"
    assert server.api.get("/no/such/path").json() == {"detail": "Not Found"}
    assert server.api.put(f"/api/conversations/{conversation_id}").status_code == 405


def test_documentation_is_open(server: Server) -> None:
    schema = server.api.get("/openapi.json", headers={"X-Session-API-Key": ""}).json()
    assert {"/api/conversations", "/api/conversations/{conversation_id}/run", "/api/file/upload"} <= set(
        schema["paths"]
    )
    assert server.api.get("/docs", headers={"X-Session-API-Key": ""}).status_code == 200
