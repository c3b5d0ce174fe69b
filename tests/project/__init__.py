"""The documentation and the packages."""
