"""What a detector finds, on folders in MVTec's layout (``train/good``, ``test/<kind>``).

    python -m benchmarks.accuracy DATA/cookie DATA/hazelnut --shots 1 4 --resolution 448

References are ``sorted(train/good)[seed * k : (seed + 1) * k]`` for seeds 0, 1, 2, as in AnomalyDINO. The
recipe is the default one with everything decided by edgead: mask by the masking test, threshold by
leave-one-out. With the stand-in weights the figures say nothing about DINOv2.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from edgead_runtime import Detector, Encoder, find_pictures, read_picture

from benchmarks.common import encoder_bundle, save, table
from edgead.evaluation.metrics import image_auroc


def evaluate(encoder: Encoder, folder: Path, shots: int, seed: int, recipe: str) -> dict[str, Any]:
    """Enrol and inspect one set once."""
    pool = find_pictures([folder / "train" / "good"])
    references = pool[seed * shots : (seed + 1) * shots]
    detector = Detector.enroll(encoder, [read_picture(path) for path in references], recipe=recipe)
    detector.any_size = True
    tests = find_pictures([folder / "test"])
    truth = [path.parent.name != "good" for path in tests]
    scores = [detector(read_picture(path).frame).score for path in tests]
    alarms = [score > detector.threshold for score in scores]
    return {
        "auroc": image_auroc(scores, truth),
        "masked": detector.mask.enabled,
        "false_alarms": sum(alarm and not bad for alarm, bad in zip(alarms, truth, strict=True)),
        "missed": sum(bad and not alarm for alarm, bad in zip(alarms, truth, strict=True)),
        "good": truth.count(False),
        "defective": truth.count(True),
        "weights": detector.encoder.manifest.weights.source,
        "official": detector.encoder.manifest.weights.official,
    }


def main() -> None:
    """Evaluate and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--resolution", type=int, default=448)
    parser.add_argument("--recipe", default="anomalydino-informed")
    options = parser.parse_args()
    rows: list[list[object]] = []
    runs: list[dict[str, Any]] = []
    with Encoder.load(encoder_bundle(options.resolution)) as encoder:
        for folder in options.folders:
            for shots in options.shots:
                done = [
                    evaluate(encoder, folder, shots, seed, options.recipe) for seed in range(options.seeds)
                ]
                runs += [
                    {"set": folder.name, "shots": shots, "seed": seed, **run} for seed, run in enumerate(done)
                ]
                aurocs = [100 * run["auroc"] for run in done]
                spread = statistics.stdev(aurocs) if len(aurocs) > 1 else 0.0
                rows.append(
                    [
                        folder.name,
                        shots,
                        f"{statistics.mean(aurocs):.1f} ± {spread:.1f}",
                        f"{sum(run['masked'] for run in done)} of {len(done)}",
                        f"{sum(run['false_alarms'] for run in done)} of {sum(run['good'] for run in done)}",
                        f"{sum(run['missed'] for run in done)} of {sum(run['defective'] for run in done)}",
                    ]
                )
                print(rows[-1])
        weights = encoder.manifest.weights
    text = f"Weights: {weights.source} (official: {'yes' if weights.official else 'NO'}); "
    text += f"{options.resolution} px; recipe {options.recipe}; {options.seeds} seeds.\n\n"
    header = ["set", "shots", "image AUROC %", "masked", "false alarms", "missed"]
    save("accuracy", text + table(header, rows), {"runs": runs})


if __name__ == "__main__":
    main()
