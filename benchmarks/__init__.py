"""What edgead costs and what it finds, measured on the machine at hand. See docs/benchmarks.md."""
