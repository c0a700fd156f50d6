"""The loop as a service: one TOML file, log lines, and a process that ends well.

``python -m edgead_runtime.service loop.toml`` on a device that has the runtime alone; ``edgead run``
elsewhere.
"""

from edgead_runtime.service.config import load_config
from edgead_runtime.service.run import run_loop
from edgead_runtime.service.tables import LoopConfig

__all__ = ["LoopConfig", "load_config", "run_loop"]
