"""An RTSP camera on loopback whose picture tells when it was made; for the system's Python (GStreamer's gi).

Each frame shows 32 bars, white for a 1: the milliseconds of the machine's monotonic clock, which all
processes share, so that whoever decodes a frame knows how old it is.

    /usr/bin/python3 benchmarks/rtsp_server.py PORT [WIDTH HEIGHT FPS]   (--probe: only say whether it could)
"""

import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

if "--probe" in sys.argv:
    Gst.init(None)
    sys.exit(any(Gst.ElementFactory.find(name) is None for name in ("x264enc", "rtph264pay", "appsrc")))

BITS = 32
PORT = sys.argv[1]
WIDTH, HEIGHT, FPS = (int(text) for text in (sys.argv[2:5] or ("640", "480", "25")))
PIPELINE = (
    f"( appsrc name=source is-live=true do-timestamp=true format=time "
    f"caps=video/x-raw,format=GRAY8,width={WIDTH},height={HEIGHT},framerate={FPS}/1 "
    f"! queue max-size-buffers=2 leaky=downstream ! videoconvert "
    f"! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={FPS} ! rtph264pay name=pay0 pt=96 )"
)


def frame() -> bytes:
    """Rows of bars, the highest bit first."""
    stamp = int(time.monotonic() * 1000) & (2**BITS - 1)
    bar = WIDTH // BITS
    row = b"".join(b"\xeb" * bar if stamp >> (BITS - 1 - bit) & 1 else b"\x10" * bar for bit in range(BITS))
    return row.ljust(WIDTH, b"\x10") * HEIGHT


class Camera(GstRtspServer.RTSPMediaFactory):
    """Gives every client the same frames."""

    def __init__(self) -> None:
        super().__init__()
        self.set_shared(True)
        self.set_launch(PIPELINE)

    def do_configure(self, media: GstRtspServer.RTSPMedia) -> None:
        """Begin to push frames."""
        source = media.get_element().get_by_name("source")

        def push() -> bool:
            return source.emit("push-buffer", Gst.Buffer.new_wrapped(frame())) == Gst.FlowReturn.OK

        GLib.timeout_add(1000 // FPS, push)


def main() -> None:
    """Serve ``rtsp://127.0.0.1:PORT/camera`` until killed."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer(service=PORT, address="127.0.0.1")
    camera = Camera()
    camera.connect("media-configure", lambda _factory, media: camera.do_configure(media))
    server.get_mount_points().add_factory("/camera", camera)
    if not server.attach(None):
        sys.exit(f"port {PORT} is in use")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
