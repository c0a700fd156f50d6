"""Latency at two resolutions and size; ``python -m benchmarks.all`` measures much more."""

from benchmarks import footprint, latency

latency.main()
footprint.main([])
