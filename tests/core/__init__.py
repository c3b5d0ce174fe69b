"""The areas of the package, one module each."""
