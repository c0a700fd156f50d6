"""Order, cursors, quota, a disk that does not work, and a file that is damaged."""

import contextlib
import sqlite3

import pytest
from edgead_runtime.errors import ConfigError, OutputError
from edgead_runtime.streaming import outbox as outbox_module
from edgead_runtime.streaming.outbox import Outbox
from edgead_runtime.streaming.stored import StoredMessage


def message(key, state="closed", picture=0, kind="event"):
    attachments = {"picture.jpg": bytes(picture)} if picture else {}
    return StoredMessage(kind, "camera", str(key), state, "2026-01-01T00:00:00.000Z", {"n": 1}, attachments)


def keys(outbox, sink="a"):
    return [each.key for each in outbox.next_for(sink, limit=10_000)]


def _stored(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT key FROM messages").fetchall()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "outbox.db"


def test_each_sink_gets_all_in_order_at_its_own_pace(path):
    outbox = Outbox(path, ["a", "b"])
    outbox.add([message(number, picture=10) for number in range(5)])
    first = outbox.next_for("a", limit=2)
    assert [each.key for each in first] == ["0", "1"]
    assert first[0].attachments == {"picture.jpg": bytes(10)}
    outbox.took("a", first[-1].number)
    assert keys(outbox, "a") == ["2", "3", "4"]
    assert keys(outbox, "b") == ["0", "1", "2", "3", "4"]
    assert outbox.waiting() == {"a": 3, "b": 5}


def test_cursors_and_messages_survive_and_what_all_have_is_gone(path):
    outbox = Outbox(path, ["a", "b"])
    outbox.add([message(number) for number in range(5)])
    outbox.took("a", 4)
    outbox.took("b", 2)
    outbox.close()
    again = Outbox(path, ["a", "b"])
    assert keys(again, "a") == ["4"]
    assert keys(again, "b") == ["2", "3", "4"]
    again.took("a", 5)
    again.took("b", 5)
    again.close()
    assert _stored(path) == []
    last = Outbox(path, ["a", "b"])
    last.add([message("new")])  # numbers are not given twice, though the table is empty
    assert last.next_for("a")[0].number == 6


def test_a_new_sink_begins_now_and_one_no_longer_named_holds_nothing_back(path):
    outbox = Outbox(path, ["a"])
    outbox.add([message("old")])
    outbox.close()
    outbox = Outbox(path, ["b"])
    outbox.add([message("new")])
    assert keys(outbox, "b") == ["new"]
    outbox.close()
    assert _stored(path) == [("new",)]


def test_what_was_opened_and_not_closed_is_known_to_the_next_process(path):
    outbox = Outbox(path, ["a"])
    outbox.add(
        [message("x", "opened"), message("y", "opened"), message("y", "updated"), message("x", "closed")]
    )
    outbox.took("a", 4)
    outbox.close()
    assert [left.key for left in Outbox(path, ["a"]).unfinished()] == ["y"]


def test_beyond_the_quota_updates_go_first_then_pictures_then_the_oldest_messages(path):
    outbox = Outbox(path, ["down", "up"], max_bytes=20_000)
    outbox.add([message("first", "opened", 4000)])
    for number in range(20):
        outbox.add([message(f"u{number}", "updated")])
    outbox.took("up", 21)
    outbox.add([message("second", "closed", 4000)])
    assert outbox.lost("down").updates == 0
    outbox.add([message(number, picture=4000) for number in range(3)])
    loss = outbox.lost("down")
    assert loss.updates == 20
    assert loss.pictures > 0
    assert loss.messages == 0
    assert keys(outbox, "down") == ["first", "second", "0", "1", "2"]
    assert outbox.lost("up").updates == 0  # it had them
    outbox.add([message(f"m{number}", "opened") for number in range(200)])
    loss = outbox.lost("down")
    assert loss.messages > 0
    left = keys(outbox, "down")
    assert left[-1] == "m199"
    assert len(left) + loss.messages == 205
    outbox.close()
    assert Outbox(path, ["down", "up"]).lost("down") == loss  # counted over a restart


def test_a_loss_is_told_once():
    outbox = Outbox(None, ["a"], max_bytes=2000)
    outbox.add([message(number) for number in range(50)])
    loss = outbox.lost("a")
    assert loss.messages > 30
    outbox.told("a", loss)
    assert not outbox.lost("a")


def test_two_processes_do_not_share_one(path):
    first = Outbox(path, ["a"])
    with pytest.raises(ConfigError, match="in use by another process"):
        Outbox(path, ["a"])
    first.close()
    Outbox(path, ["a"]).close()


def test_a_damaged_file_is_set_aside_aloud(path, caplog):
    outbox = Outbox(path, ["a"])
    outbox.add([message(number) for number in range(100)])
    outbox.close()
    path.write_bytes(b"not a database" * 500)
    fresh = Outbox(path, ["a"])
    fresh.add([message("after")])
    assert keys(fresh) == ["after"]
    assert "is damaged" in caplog.text
    assert list(path.parent.glob("outbox.db.damaged-*"))


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        Outbox(tmp_path / "file" / "outbox.db", ["a"])


class _FullDisk:
    """``insert`` as it is on a full disk, until there is space again."""

    def __init__(self, monkeypatch):
        self.full = True
        really = outbox_module.insert

        def insert(database, stored):
            if self.full:
                raise sqlite3.OperationalError("database or disk is full")
            really(database, stored)

        monkeypatch.setattr(outbox_module, "insert", insert)


def test_with_a_full_disk_messages_still_reach_the_sinks_and_are_saved_later(path, monkeypatch):
    outbox = Outbox(path, ["a", "b"])
    outbox.add([message("before")])
    disk = _FullDisk(monkeypatch)
    outbox.add([message("during")])
    assert "full" in outbox.disk_problem
    assert keys(outbox, "a") == ["before", "during"]
    outbox.took("a", 2)
    disk.full = False
    outbox.add([message("after")])
    assert outbox.disk_problem == ""
    assert keys(outbox, "a") == ["after"]
    outbox.close()
    assert keys(Outbox(path, ["a", "b"]), "b") == ["before", "during", "after"]


def test_what_went_from_memory_alone_is_neither_left_open_nor_closed_again(path, monkeypatch):
    outbox = Outbox(path, ["a"])
    outbox.add([message("from before", "opened")])
    disk = _FullDisk(monkeypatch)
    outbox.add([message("from before"), message("new", "opened", picture=10), message("short", "opened")])
    outbox.add([message("short")])
    outbox.took("a", 5)
    disk.full = False
    assert outbox.save()
    outbox.close()
    assert [left.key for left in Outbox(path, ["a"]).unfinished()] == ["new"]


def test_with_a_full_disk_memory_stays_bounded_and_losses_are_counted(path, monkeypatch):
    outbox = Outbox(path, ["a"], max_bytes=200_000)
    _FullDisk(monkeypatch)
    for number in range(300):
        outbox.add([message(number, "updated" if number % 2 else "closed", picture=500)])
    kept = keys(outbox)
    loss = outbox.lost("a")
    assert len(kept) < 40
    assert loss.updates == 150
    assert loss.messages + loss.updates + len(kept) == 300
    assert kept[-1] == "298"
