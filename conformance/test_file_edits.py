"""The file editor through a whole run: what happens on disk and what the observations say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents import Sessions, observations, text_of
from mock_model import Turn, call, finish
from server import Server


def edit(path: Path, command: str, **more: Any) -> Turn:
    return call("file_editor", command=command, path=str(path), **more)


def run(server: Server, sessions: Sessions, folder: Path, *turns: Turn) -> list[dict[str, Any]]:
    conversation = sessions.open(server, sessions.models.new(*turns, finish()), folder=folder)
    conversation.send_message("edit")
    conversation.run()
    return observations(server, conversation.id)[: len(turns)]


def test_create_view_replace_insert_undo(server: Server, sessions: Sessions) -> None:
    folder = server.folder("edits")
    file = folder / "poem.txt"
    created, viewed, replaced, inserted, undone = run(
        server,
        sessions,
        folder,
        edit(file, "create", file_text="one\ntwo\nthree\n"),
        edit(file, "view", view_range=[2, 3]),
        edit(file, "str_replace", old_str="two", new_str="zwei"),
        edit(file, "insert", insert_line=1, new_str="one and a half"),
        edit(file, "undo_edit"),
    )
    assert created["prev_exist"] is False and created["new_content"] == "one\ntwo\nthree\n"
    assert "two" in text_of(viewed) and "one" not in text_of(viewed).partition(":")[2]
    assert (replaced["old_content"], replaced["new_content"]) == ("one\ntwo\nthree\n", "one\nzwei\nthree\n")
    assert "one and a half" in inserted["new_content"]
    assert not any(observation["is_error"] for observation in (created, viewed, replaced, inserted, undone))
    assert file.read_text() == "one\nzwei\nthree\n"


def test_edits_that_cannot_be_done_are_errors_and_change_nothing(server: Server, sessions: Sessions) -> None:
    folder = server.folder("refused")
    file = folder / "twice.txt"
    file.write_text("same\nsame\n")
    (folder / "relative.txt").write_text("here")
    results = run(
        server,
        sessions,
        folder,
        edit(file, "str_replace", old_str="same", new_str="other"),
        edit(file, "str_replace", old_str="absent", new_str="other"),
        edit(file, "create", file_text="overwritten"),
        edit(file, "insert", insert_line=99, new_str="x"),
        edit(Path("relative.txt"), "view"),
        edit(folder / "missing.txt", "view"),
    )
    assert [observation["is_error"] for observation in results] == [True] * 6
    assert str(folder / "relative.txt") in text_of(results[4]), "the error does not suggest the absolute path"
    assert file.read_text() == "same\nsame\n"


def test_view_lists_a_folder(server: Server, sessions: Sessions) -> None:
    folder = server.folder("listing")
    (folder / "src").mkdir()
    (folder / "src" / "main.py").write_text("print()\n")
    (folder / ".hidden").write_text("")
    (listing,) = run(server, sessions, folder, edit(folder, "view"))
    assert "src/main.py" in text_of(listing) and f"{folder}/.hidden" not in text_of(listing)


def test_other_encodings_survive_an_edit(server: Server, sessions: Sessions) -> None:
    folder = server.folder("encodings")
    file = folder / "latin.txt"
    text = (
        "Über allen Gipfeln ist Ruh, in allen Wipfeln spürest du kaum einen Hauch.\nDie Vögelein schweigen im Walde.\n"
    )
    file.write_bytes(text.encode("utf-8"))
    (changed,) = run(server, sessions, folder, edit(file, "str_replace", old_str="Vögelein", new_str="Vögel"))
    assert not changed["is_error"]
    assert file.read_bytes() == text.replace("Vögelein", "Vögel").encode("utf-8")
