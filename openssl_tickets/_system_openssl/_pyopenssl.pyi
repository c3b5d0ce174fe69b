"""What pyOpenSSL calls, as build_ffi.pyopenssl declares it."""

from typing import Any

ffi: Any
lib: Any
