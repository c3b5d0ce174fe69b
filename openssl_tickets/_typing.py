"""
What this package needs of ``typing``. Only type checkers import ``typing`` itself: no annotation is
evaluated when a program runs, and the import would take as long as that of all modules here.
"""

from collections import namedtuple

TYPE_CHECKING = False  # type checkers know this name, and take it for True

if TYPE_CHECKING:
    from typing import (
        Any as Any,
        Literal as Literal,
        NamedTuple as NamedTuple,
        NoReturn as NoReturn,
        Protocol as Protocol,
        SupportsIndex as SupportsIndex,
        TypeVar as TypeVar,
        overload as overload,
    )
else:
    Any = Literal = NoReturn = Protocol = SupportsIndex = object

    def TypeVar(name, **_):
        return object

    def overload(function):
        return function

    class _OfFields(type):
        """Makes a named tuple of the annotations in a class."""

        def __new__(cls, name, bases, body):
            made = namedtuple(name, body["__annotations__"])
            for attribute, value in body.items():
                setattr(made, attribute, value)
            return made

    NamedTuple = type.__new__(_OfFields, "NamedTuple", (), {})
