"""Where interactions are written to."""
