"""Tests of the server and the certificates behind the fixtures, the demo and serve."""
