"""What the README claims about speed. `python -m benchmarks` runs all of it; each module runs alone too."""
