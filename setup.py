"""
Tells cffi what to build, and setuptools the file names of the compiled modules.

The metadata is in pyproject.toml.
"""

import re
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext


class BuildExt(build_ext):
    """Gives the modules a file name that each CPython finds. 3.15 has a new one by default."""

    def get_ext_filename(self, fullname: Any) -> str:
        name = super().get_ext_filename(fullname)  # type: ignore[no-untyped-call]
        return re.sub(r"\.abi3-[\w-]+\.so$", ".abi3.so", name)


setup(
    cffi_modules=["build_ffi.py:libssl", "build_ffi.py:pyopenssl"], cmdclass={"build_ext": BuildExt}
)
