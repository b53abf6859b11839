"""The read side: what is, what was, what will be, and why."""
