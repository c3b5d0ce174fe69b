"""What was built and is loaded."""
