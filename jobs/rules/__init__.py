"""When a schedule fires, and what happens when it cannot: pure functions of their arguments."""
