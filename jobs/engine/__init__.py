"""The verbs. The only code that changes state; one module each."""
