"""What the service says about itself: structured logs and the names of its events."""
