"""The bench: Sluice beside the stack it replaces, and beside the least that gRPC itself costs."""
