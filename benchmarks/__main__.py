"""Run the benchmarks that need no data of one's own."""

from benchmarks import footprint, latency

latency.main()
footprint.main()
