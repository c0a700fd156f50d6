"""An example of the loop's TOML file that shows every field with its default."""

from __future__ import annotations

import re

_EXAMPLE = """\
# edgead run --config loop.toml
# Paths are relative to this file. ${NAME} is taken from the environment. What is commented out is the
# default.

[[camera]]
name = "left"                       # goes into topics and file names
detector = "part.edgead"            # from `edgead enroll`
source = "rtsp://user:${CAMERA_PASSWORD}@192.168.0.20/stream1"
# Also: a camera's number, a GStreamer pipeline, watch:FOLDER, a video, a picture, a folder, and play:VIDEO or
# play:FOLDER.
# encoder = "encoder"               # by default inside the detector, or where it was enrolled
# any_size = false                  # accept frames of another size than the good pictures
# threshold = 0.4                   # by default the calibrated one
# budget_ms = 33                    # from capture to verdict
# decoder = "auto"                  # of a network camera: auto, av or opencv
# transport = "tcp"                 # of a network camera: tcp, or udp where PyAV is
# crop = [0, 0, 640, 480]           # x, y, width, height in pixels
# max_fps = 10
# stall_s = 15.0                    # a source that gives nothing for so long hangs and is opened anew
# frozen_s = 10.0                   # the very same picture for so long is a frozen camera; 0: never
# backoff_s = [0.5, 30.0]           # waits before opening again: the first, and the longest
# give_up_s = 600                   # stop when it is away for so long; by default never
# skip_unchanged = 2.0              # answer as before where no spot changed by more than so many grey levels;
                                    # by default every frame is inspected

[camera.rules]                      # when an event opens and closes
hits = 3                            # default 1: anomalous frames that open one,
window = 5                          # default 1: among so many
close_ratio = 0.9                   # default 1: calm is a score of at most this share of the threshold
close_after = 5                     # default 1: calm frames in a row close it
# cool_down_s = 0.0                 # no other opens for so long
# close_unseen_s = 10.0             # it closes when nothing could be inspected for so long
# update_every_s = 10.0             # an open one is told of again so often

# [[camera.zone]]                   # areas judged each by itself, instead of the frame
# name = "thread"
# polygon = [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]  # shares of width and height
# min_area_px = 1                   # pixels above the threshold that count
# threshold = 0.3                   # of the map; by default the detector's pixel threshold

# [camera.trigger]                  # take a frame for each MQTT message; its text names the frame
# host = "broker"
# topic = "plc/part"
# port = 1883
# username = "edgead"
# password = "${MQTT_PASSWORD}"
# tls = false

[drift]                             # whether a camera still sees what it saw at enrolment; 0: not watched
# enabled = true
# window = 100                      # frames whose median is compared with the good pictures
# for_s = 60.0                      # an alert opens, and closes, after so long
# brightness = 0.15                 # share beyond what the good pictures had
# sharpness = 0.2
# mask_area = 0.3
# score = 0.25                      # share above the good pictures' median
# patch_distance = 0.25
# position = 0.02                   # shift, as a share of the frame; 0 where parts move by design
# close_ratio = 0.8                 # share of the limit at which an alert closes
# A table [camera.drift] has the same fields for one camera; what it leaves out is as it is here.

[engine]
# name = "auto"                     # the one that measures fastest here, onnxruntime or openvino
# device = "cpu"                    # or cuda
# precision = "fp32"                # or bf16; int8, fp16 and fp8 where they were exported
# threads = 2                       # by default the engine's choice
# timeout_s = 60.0                  # a frame that takes longer means that the engine hangs
# give_up_after = 100               # failures in a row that stop the loop; 0: never

[outbox]                            # where messages wait for sinks that are down
# path = "edgead-outbox.db"
# max_mb = 200.0

[[sink]]
type = "jsonl"
path = "events.jsonl"
# max_mb = 50.0                     # a full file becomes events.jsonl.1
# keep = 5

[[sink]]
type = "pictures"
folder = "events"
# max_mb = 1000.0                   # the oldest go first

# [[sink]]
# type = "csv"
# path = "events.csv"
# max_mb = 50.0
# keep = 5

# [[sink]]
# type = "clips"
# folder = "clips"
# before_s = 3.0
# after_s = 2.0
# max_clip_s = 30.0
# max_mb = 2000.0

# [[sink]]
# type = "mqtt"
# host = "broker"
# port = 1883
# username = "edgead"
# password = "${MQTT_PASSWORD}"
# tls = false
# prefix = "edgead"
# pictures = true
# discovery = false                 # announce the cameras to Home Assistant
# commands = false                  # take lessons on PREFIX/CAMERA/command; needs [learning]

# [[sink]]
# type = "webhook"
# url = "https://example.com/hook"
# headers = { Authorization = "Bearer ${HOOK_TOKEN}" }
# pictures = false                  # put them into the JSON
# timeout_s = 10.0
# kinds = ["event", "loss"]         # by default all; also trouble, drift, learned and unlearned

# [[sink]]
# type = "lines"                    # JSON lines on stdout

# [metrics]                         # /metrics, /healthz, /readyz
# host = "127.0.0.1"
# port = 9464

# [learning]                        # good parts are added on the line, and kept over restarts
# folder = "edgead-learning"        # the journal, and pictures as eval and --labelled take them
# max_mb = 2000.0                   # for pictures; beyond it lessons are refused
# bank_limit = 65536                # patches; by default twice what was enrolled, at least 65536

# [view]                            # a page with the live picture: pip install "edgead-runtime[view]"
# host = "127.0.0.1"                # another one asks for the token
# port = 8675
# token = "${VIEW_TOKEN}"           # 16 characters or more; by default made anew at each start, and logged
# max_fps = 10.0                    # pictures a second for browsers, made while one looks
# max_side_px = 960

[log]
# json = false
# level = "info"
# status_every_s = 60.0
"""


def example_config() -> str:
    """The text of the example."""
    return _EXAMPLE


_HEADER = re.compile(r"^(?:# )?(\[[^\]]+\]\]?)")
_LINE = re.compile(r"^(?:# )?(?P<field>\w+) = (?P<value>.*?)(?:\s+# (?P<comment>.*))?$")


def example_of(title: str, field: str) -> str:
    """How a field is written: ``crop = [0, 0, 640, 480] (x, y, width, height in pixels)``.

    Args:
        title: Of its table as it is written, ``[engine]``; of a sink its type.
        field: Its name.

    Returns:
        Nothing where the example shows it in no line of its own.
    """
    section = ""
    for line in _EXAMPLE.splitlines():
        if header := _HEADER.match(line):
            section = header[1]
        found = _LINE.match(line)
        if found is None:
            continue
        if found["field"] == "type" and section == "[[sink]]":
            section = found["value"].strip('"')
        if (section, found["field"]) == (title, field):
            comment = re.sub(r"^(by default|default|or) .*", "", found["comment"] or "").rstrip(",;")
            return f"{field} = {found['value']}" + (f" ({comment})" if comment else "")
    return ""
