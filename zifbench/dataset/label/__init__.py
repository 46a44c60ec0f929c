"""Labels for frames from a local CP2K."""
