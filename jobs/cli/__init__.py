"""What the management commands share: output, errors, and reading what people type."""
