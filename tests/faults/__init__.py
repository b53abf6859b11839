"""What the platform survives: real processes are killed, stopped and starved, and an oracle looks on.

Ordinary runs use the short form (small numbers, lease 6 s, sweep 1 s); `make faults` runs the full one.
"""
