"""The parts of libssl that this package binds: one module for each."""
