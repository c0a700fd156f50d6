"""Make a self-contained detector and write down what it says of its pictures, for ``check.py``."""

import json
import sys
import tempfile
from pathlib import Path

from edgead_export.export import ExportOptions, export_encoder
from edgead_export.parity import parity_pictures
from edgead_runtime import Detector


def main(target: Path) -> None:
    pictures = parity_pictures()
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_encoder(
            ExportOptions("dinov2_s", Path(folder) / "encoder", "112", fuse=True), note=print
        ).path
        with Detector.enroll(bundle, pictures[:2]) as detector:
            detector.any_size = True
            expected = {picture.name: detector(picture.frame).score for picture in pictures}
            detector.save(target, self_contained=True)
    for picture in pictures:
        (target.parent / picture.name).write_bytes(picture.encode())
    target.with_suffix(".json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
