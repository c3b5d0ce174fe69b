"""
The metadata is in pyproject.toml. Here cffi is told what to build, and setuptools how the compiled
modules are called.
"""

import re
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext


class BuildExt(build_ext):
    """Gives the modules a name that each CPython finds, and not one that is new in 3.15."""

    def get_ext_filename(self, fullname: Any) -> str:
        name = super().get_ext_filename(fullname)  # type: ignore[no-untyped-call]
        return re.sub(r"\.abi3-[\w-]+\.so$", ".abi3.so", name)


setup(
    cffi_modules=["build_ffi.py:libssl", "build_ffi.py:pyopenssl"], cmdclass={"build_ext": BuildExt}
)
