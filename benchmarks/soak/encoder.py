"""The encoder that is soaked where none is named; prints its folder. Run by ``scene.apart``."""

from benchmarks.common import encoder_bundle

if __name__ == "__main__":
    print(encoder_bundle(224, fuse=True))
