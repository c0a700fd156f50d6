"""``python -m edgead_runtime.service loop.toml``: the loop where there is the runtime alone."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from edgead_runtime.errors import EdgeadError
from edgead_runtime.service.checking import check_loop
from edgead_runtime.service.config import load_config
from edgead_runtime.service.example import example_config
from edgead_runtime.service.logs import logging_to_stderr
from edgead_runtime.service.run import run_loop
from edgead_runtime.service.tables import LoopConfig

log = logging.getLogger("edgead.run")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it.

    Args:
        arguments: Without the program's name; by default those of the process.

    Returns:
        0, or 2 where something is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m edgead_runtime.service", description=__doc__)
    parser.add_argument("config", nargs="?", type=Path, help="the loop's TOML file")
    parser.add_argument(
        "--print-config", action="store_true", help="print an example with every field, and end"
    )
    parser.add_argument(
        "--check", action="store_true", help="check the file, try detectors and sources, and end"
    )
    parser.add_argument("--log-json", action="store_true", help="log lines as JSON")
    given = parser.parse_args(arguments)
    if given.print_config:
        print(example_config())
        return 0
    if given.config is None:
        parser.error("give the loop's TOML file, or --print-config")
    try:
        config = load_config(given.config)
        if given.check:
            print(f"{given.config} is valid")
            check_loop(config, given.config.resolve().parent, print)
            print("it would run")
            return 0
        as_json = given.log_json or config.log.json
        with logging_to_stderr(as_json=as_json, level=config.log.level):
            return _run(config, given.config.resolve().parent, as_json)
    except EdgeadError as error:
        print(f"edgead: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # the second signal
        print("edgead: interrupted", file=sys.stderr)
        return 130


def _run(config: LoopConfig, base: Path, as_json: bool) -> int:
    try:
        run_loop(config, base)
    except EdgeadError as error:
        if not as_json:
            raise
        log.error("%s", error)  # noqa: TRY400  (whoever collects lines has only lines)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
