"""The areas of libssl that this package binds: one module each."""
