"""The suite under AddressSanitizer and under valgrind: a command each, whose exit status tells."""
