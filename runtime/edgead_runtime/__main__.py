"""``python -m edgead_runtime``."""

from edgead_runtime.command import run

if __name__ == "__main__":
    run()
