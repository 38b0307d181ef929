"""Figures, measured on the machine at hand: `python -m bench.NAME --json`. What they mean: bench/RESULTS.md."""
