"""Ticket key files."""
