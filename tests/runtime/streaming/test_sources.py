"""What each kind of source gives, and what it says when it cannot."""

import logging
import shutil
import threading
import time
import traceback
from pathlib import Path

import cv2
import numpy as np
import pytest
from edgead_runtime import Picture, stream
from edgead_runtime.errors import PictureError, SourceError, SourceLostError
from edgead_runtime.images import encode_jpeg, encode_png
from edgead_runtime.streaming import CaptureSettings, Stream
from edgead_runtime.streaming.shown import shown_address, without_secrets
from edgead_runtime.streaming.sources import (
    EndOfSourceError,
    Frames,
    GStreamerPipeline,
    NetworkCamera,
    Pictures,
    PlayedPictures,
    VideoFile,
    WatchedFolder,
    Webcam,
    as_source,
)
from edgead_runtime.streaming.sources.opencv import has_gstreamer
from hypothesis import given
from hypothesis import strategies as st
from stream_fakes import FakeDetector, frame_scoring, wait_until


def _read_all(source):
    session, grabs = source.open(), []
    try:
        while True:
            grab = session.read()
            if grab is not None:
                grabs.append(grab)
    except EndOfSourceError:
        return grabs
    finally:
        session.close()


@pytest.fixture
def picture_folder(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encode_png(frame_scoring(0.1, number)))
    return folder


def _write_video(path: Path, frames, fps=25) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture
def video(tmp_path, part):
    return _write_video(tmp_path / "parts.avi", [part(number) for number in range(12)])


def test_a_folder_gives_its_pictures_by_name_and_a_picture_itself(picture_folder):
    grabs = _read_all(Pictures(picture_folder))
    assert [grab.name for grab in grabs] == ["0.png", "1.png", "2.png"]
    np.testing.assert_array_equal(grabs[2].image, frame_scoring(0.1, 2))
    assert len(_read_all(Pictures(picture_folder / "1.png"))) == 1


def test_a_damaged_picture_among_good_ones_is_reported_and_the_rest_inspected(picture_folder):
    (picture_folder / "1.png").write_bytes(encode_png(frame_scoring(0.1))[:-40])
    results = list(stream(FakeDetector(), picture_folder))
    assert [result.is_good for result in results] == [True, False, True]
    assert isinstance(results[1].failure, PictureError)


def test_a_video_gives_every_frame(video, part):
    grabs = _read_all(VideoFile(video))
    assert len(grabs) == 12
    assert np.abs(grabs[5].image.astype(int) - part(5)).mean() < 6  # Motion JPEG


def test_pictures_played_as_a_camera_come_in_time_over_and_over(tmp_path):
    for name in ("b.png", "a.png"):
        (tmp_path / name).write_bytes(encode_png(frame_scoring(0.1, ord(name[0]))))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    source = PlayedPictures([tmp_path], per_second=20)
    assert source.live
    begun, session = time.monotonic(), source.open()
    assert [session.read().name for _ in range(2)] == ["a.png", "b.png"]
    with pytest.raises(PictureError, match=r"broken\.png"):
        session.read()
    assert [session.read().name for _ in range(2)] == ["a.png", "b.png"]
    assert time.monotonic() - begun > 4 / 20
    assert as_source(f"play:{tmp_path}") == PlayedPictures((tmp_path,))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no picture"):
        PlayedPictures([tmp_path / "empty"]).open()
    with pytest.raises(SourceError, match="no file or folder"):
        PlayedPictures([tmp_path / "none"]).open()


def test_a_slow_player_gives_nothing_rather_than_nothing_for_long(tmp_path):
    (tmp_path / "a.png").write_bytes(encode_png(frame_scoring(0.1)))
    session = PlayedPictures([tmp_path], per_second=0.1).open()
    assert session.read() is not None
    begun = time.monotonic()
    assert session.read() is None
    assert time.monotonic() - begun < 1


def test_a_video_played_as_a_camera_keeps_its_own_time_and_begins_again(video):
    session = VideoFile(video, as_camera=True, repeat=True).open()
    began = time.monotonic()
    for _ in range(20):
        session.read()
    assert 0.7 < time.monotonic() - began < 5  # 20 frames at 25 a second
    session.close()


@pytest.mark.parametrize("keep", [0.4, 0.05])
def test_a_truncated_video_is_no_good_end(video, keep):
    video.write_bytes(video.read_bytes()[: int(video.stat().st_size * keep)])
    with pytest.raises(SourceError):
        list(stream(FakeDetector(), video))


def test_garbage_is_no_video(tmp_path):
    (tmp_path / "x.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(SourceError, match="not a video"):
        VideoFile(tmp_path / "x.mp4").open()
    with pytest.raises(SourceError, match="there is no source"):
        as_source(tmp_path / "nothing.mp4")


def test_named_pictures_in_an_iterable_keep_their_names():
    grabs = _read_all(Frames([Picture("left", frame_scoring(0.1)), frame_scoring(0.2)]))
    assert [grab.name for grab in grabs] == ["left", ""]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (0, Webcam),
        ("1", Webcam),
        ("rtsp://camera/1", NetworkCamera),
        ("videotestsrc ! videoconvert ! appsink", GStreamerPipeline),
        ("videotestsrc ! " + "videoconvert ! " * 400 + "appsink", GStreamerPipeline),
        ("watch:/tmp", WatchedFolder),
        (Path("/tmp"), Pictures),
        ([], Frames),
    ],
)
def test_what_a_person_types_is_understood(given, kind):
    assert isinstance(as_source(given), kind)


@pytest.mark.parametrize("given", ["", "nowhere/at/all", "x" * 5000, "a\0b", True, None, 3.5])
def test_what_is_no_source_is_said(given):
    with pytest.raises(SourceError, match="no source"):
        as_source(given)


def test_a_password_in_what_is_no_address_is_not_shown_either():
    with pytest.raises(SourceError, match=r"no source rtsp:/anna:\*\*\*@camera/1"):
        as_source("rtsp:/anna:geheim@camera/1")


def test_a_password_is_never_shown():
    camera = NetworkCamera("rtsp://anna:se:cr@et@10.0.0.7:554/a?b=1")
    assert camera.label == "rtsp://anna:***@10.0.0.7:554/a?b=1"
    assert "cr@et" not in repr(camera) + camera.label
    assert shown_address("rtsp://10.0.0.7/a") == "rtsp://10.0.0.7/a"
    assert "pw" not in shown_address("rtsp://u:pw@[::1/x")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://cam/mjpg?user=anna&pwd=geheim&channel=1", "http://cam/mjpg?user=***&pwd=***&channel=1"),
        ("https://ha.local/api/webhook/geheim-geheim-geheim", "https://ha.local/api/webhook/gehe***"),
        ("https://anna:geheim@hook/x#geheim", "https://anna:***@hook/x"),
        ("http://hook/x?geheimgeheimgeheimgeheim", "http://hook/x?gehe***"),
    ],
)
def test_no_more_does_anything_else_of_an_address_that_lets_somebody_in(url, shown):
    assert shown_address(url) == shown
    assert without_secrets(f"Error opening '{url}': timed out") == f"Error opening '{shown}': timed out"


@given(st.text(max_size=40))
def test_whatever_an_address_is_it_can_be_shown(text):
    assert isinstance(shown_address(text), str)
    assert isinstance(without_secrets(f"no rtsp://{text} here"), str)


class _Driver:
    """Says the whole address when it fails, as some do."""

    label, live, paces_itself = "driver", True, False

    def open(self):
        raise RuntimeError("cannot open rtsp://anna:geheim@camera/1")


def test_a_password_that_a_driver_says_is_not_in_the_log(caplog):
    settings = CaptureSettings(backoff_s=(0.01, 0.01), give_up_s=0.05)
    with caplog.at_level(logging.DEBUG, "edgead"), pytest.raises(SourceError) as caught:
        list(stream(FakeDetector(), _Driver(), capture=settings))
    assert "rtsp://anna:***@camera/1" in caplog.text
    assert "geheim" not in caplog.text + str(caught.value)


def test_a_camera_library_may_fill_its_buffer_anew():
    buffer = frame_scoring(0.1)

    def grabbing():
        for score in (0.1, 0.9, 0.2, 0.8):
            buffer[:] = frame_scoring(score)
            yield buffer

    results = list(stream(FakeDetector(takes_s=0.02), grabbing()))
    assert [result.score for result in results] == pytest.approx([0.1, 0.9, 0.2, 0.8])
    assert [int(result.frame.image[0, 0, 0]) for result in results] == [10, 90, 20, 80]
    named = (Picture(str(number), buffer) for number in range(2))
    first, second = (result.frame.image for result in stream(FakeDetector(), named))
    assert not np.shares_memory(first, buffer) | np.shares_memory(first, second)
    (kept,) = stream(FakeDetector(), Frames([buffer], copy=False))
    assert kept.frame.image is buffer


@pytest.mark.parametrize("decoder", ["opencv", "av"])
def test_a_network_camera_that_does_not_answer_is_lost_not_fatal(decoder):
    if decoder == "av":
        pytest.importorskip("av", reason="PyAV (the extra rtsp) is not installed")
    url = f"rtsp://u:{'hid' + 'den'}@127.0.0.1:1/x"  # a traceback shows this line
    with pytest.raises(SourceLostError) as caught:
        NetworkCamera(url, decoder=decoder, timeout_s=1).open()
    assert "hidden" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.skipif(has_gstreamer(), reason="this OpenCV has GStreamer")
def test_without_gstreamer_it_says_so():
    with pytest.raises(SourceError, match="built without GStreamer") as caught:
        GStreamerPipeline("videotestsrc ! appsink").open()
    assert not isinstance(caught.value, SourceLostError)  # it would be tried for ever
    assert "JetPack" in caught.value.remedy


def test_a_webcam_that_is_not_there_is_lost(capfd):
    with pytest.raises(SourceLostError, match="camera 97"):
        Webcam(97).open()
    capfd.readouterr()  # OpenCV complains on its own


# -- a folder that is being filled ---------------------------------------------------------------------


def _names(session, want, timeout_s=5.0):
    names, end = [], time.monotonic() + timeout_s
    while len(names) < want and time.monotonic() < end:
        grab = session.read()
        if grab is not None:
            names.append(grab.name)
    return names


def test_a_watched_folder_takes_what_is_there_and_what_comes(picture_folder):
    session = WatchedFolder(picture_folder, poll_s=0.01, settle_s=0.03).open()
    assert sorted(_names(session, 3)) == ["0.png", "1.png", "2.png"]
    (picture_folder / "note.txt").write_text("no picture")
    (picture_folder / ".hidden.png").write_bytes(b"being written")
    shutil.copy(picture_folder / "0.png", picture_folder / "new.png")
    assert _names(session, 1) == ["new.png"]
    assert _names(session, 1, timeout_s=0.3) == []
    (picture_folder / "0.png").write_bytes(encode_png(frame_scoring(0.3, 77)))  # the same name, another part
    assert _names(session, 1) == ["0.png"]


def test_a_watched_folder_can_leave_alone_what_is_there(picture_folder):
    session = WatchedFolder(picture_folder, poll_s=0.01, settle_s=0.02, new_only=True).open()
    assert _names(session, 1, timeout_s=0.2) == []
    (picture_folder / "9.jpg").write_bytes(encode_jpeg(frame_scoring(0.1)))
    assert _names(session, 1) == ["9.jpg"]


def test_a_file_that_is_written_slowly_is_taken_once_and_whole(tmp_path, part):
    folder = tmp_path / "in"
    folder.mkdir()
    data = encode_png(part(3))

    def write_slowly():
        with (folder / "slow.png").open("wb") as out:
            for start in range(0, len(data), len(data) // 8 + 1):
                out.write(data[start : start + len(data) // 8 + 1])
                out.flush()
                time.sleep(0.06)  # longer than it takes to settle, so that half a file looks whole

    session = WatchedFolder(folder, poll_s=0.01, settle_s=0.03).open()
    writer = threading.Thread(target=write_slowly)
    writer.start()
    end, grabs = time.monotonic() + 1.5, []
    while time.monotonic() < end:
        grab = session.read()
        if grab is not None:
            grabs.append(grab)
    writer.join()
    assert [grab.name for grab in grabs] == ["slow.png"]
    np.testing.assert_array_equal(grabs[0].image, part(3))


def test_a_file_that_never_decodes_is_reported_once(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG and then nothing")
    session = WatchedFolder(tmp_path, poll_s=0.01, settle_s=0.02, give_up_s=0.15).open()
    problems, end = [], time.monotonic() + 0.8
    while time.monotonic() < end:
        try:
            assert session.read() is None
        except PictureError as error:
            problems.append(error)
    assert len(problems) == 1


def test_a_watched_folder_that_vanishes_comes_back_without_being_lost_sight_of(tmp_path):
    folder = tmp_path / "share"
    folder.mkdir()
    running = stream(FakeDetector(), WatchedFolder(folder, poll_s=0.01, settle_s=0.02))
    names = []

    def work():
        (folder / "1.png").write_bytes(encode_png(frame_scoring(0.1)))
        wait_until(lambda: names == ["1.png"])
        shutil.rmtree(folder)
        wait_until(lambda: "lost" in running.stats()["camera"].troubles)
        folder.mkdir()
        (folder / "2.png").write_bytes(encode_png(frame_scoring(0.2)))

    threading.Thread(target=work, daemon=True).start()
    for result in running:
        names.append(result.frame.name)
        if len(names) == 2:
            break
    assert names == ["1.png", "2.png"]


def test_it_forgets_files_that_are_gone(tmp_path):
    session = WatchedFolder(tmp_path, poll_s=0.001, settle_s=0.005).open()
    for number in range(5):
        path = tmp_path / f"{number}.png"
        path.write_bytes(encode_png(frame_scoring(0.1, number)))
        assert _names(session, 1) == [path.name]
        path.unlink()
    session.read()
    assert session._done == {}


def test_the_stream_class_takes_sources_as_they_are(picture_folder):
    from edgead_runtime.streaming import Camera

    results = list(Stream([Camera("a", FakeDetector(), Pictures(picture_folder))]))
    assert [result.frame.name for result in results] == ["0.png", "1.png", "2.png"]
