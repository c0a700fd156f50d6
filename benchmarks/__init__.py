"""What edgead costs and what it finds, measured on the machine at hand. ``python -m benchmarks`` runs all."""
