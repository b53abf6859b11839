"""Run every benchmark, one after the other, each in a process of its own."""

import subprocess
import sys

MODULES = ("benchmarks.crontab_speed", "benchmarks.punctuality")

for module in MODULES:
    print(f"== {module}", flush=True)
    subprocess.run([sys.executable, "-m", module], check=True)
