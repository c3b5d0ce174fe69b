"""Commands that run the tests under AddressSanitizer and under valgrind."""
