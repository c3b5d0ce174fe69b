"""The tickets' half of libssl, as build_ffi.libssl declares it."""

from typing import Any

ffi: Any
lib: Any
