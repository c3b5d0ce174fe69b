"""The metadata is in pyproject.toml; only cffi needs to be told here what to build."""

from setuptools import setup

setup(cffi_modules=["build_ffi.py:libssl", "build_ffi.py:pyopenssl"])
