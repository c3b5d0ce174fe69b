"""The exceptions of the package."""

from __future__ import annotations

from typing import Any

import pytest

import openssl_tickets
from openssl_tickets._native import errors
from tests.support import native


def test_error_takes_the_whole_queue(server_context: Any) -> None:
    """An Error holds OpenSSL's own errors, oldest first, and leaves the queue empty."""
    # With a context made: libssl knows the names of its errors from then on.
    native.lib.put_error()
    native.lib.put_ssl_error()
    with pytest.raises(openssl_tickets.Error) as caught:
        errors.raise_error("it failed")
    assert caught.value.errors[1] == ("SSL routines", "bad length")
    assert len(caught.value.errors) == 2
    assert str(caught.value).startswith("it failed (")
    assert "SSL routines: bad length" in str(caught.value)
    assert native.lib.peek_error() == 0


def test_error_without_a_reason() -> None:
    """An empty queue adds nothing to the message."""
    error = openssl_tickets.Error("it failed")
    assert (str(error), error.errors) == ("it failed", [])


def test_a_mismatch_is_no_failed_call() -> None:
    """A mismatch of libraries is not caught by who expects a call to fail."""
    assert not issubclass(openssl_tickets.LibraryMismatchError, openssl_tickets.Error)
