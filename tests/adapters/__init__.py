"""From Python objects to libssl's, and back."""
