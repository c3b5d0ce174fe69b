"""The loaded libssl: which one it is, how it was proved, its lock and its error queue."""
