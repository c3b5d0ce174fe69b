"""
Writes the typed stubs of the two compiled modules: ``python -m tests.support.stubs``.

They have the argument types and the return type of each C function, so that mypy finds a wrong
argument. Each kind of pointer is a type of its own, a ``Pointer`` to what it points to.
``ffi.NULL`` fits each kind. cffi's own parser reads the declarations.
"""

from __future__ import annotations

import functools
import keyword
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cffi import cparser, model

import build_ffi

START = '''"""
{summary}

Written by `python -m tests.support.stubs`, from the declarations.
"""

# fmt: off
# ruff: noqa
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar, overload

T = TypeVar("T")
OnError = Callable[[type[BaseException], BaseException, TracebackType | None], object]

class Pointer(Generic[T]):
    """A pointer of C's, to a T."""
    def __bool__(self) -> bool: ...
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...
    def __getitem__(self, index: int, /) -> T: ...
    def __setitem__(self: Pointer[char], place: slice[int, int, None], to: bytes, /) -> None: ...'''

FFI = '''
class Array(Pointer[T]):
    """An array of C's, which C takes for a pointer."""
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[T]: ...

class Integer:
    """An integer of one of C's types."""
    def __int__(self) -> int: ...

class Buffer:
    """A piece of C's memory."""
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class FFI:
    CData: type[Pointer[Any]]
    NULL: Pointer[Any]
    def buffer(self, cdata: Pointer[Any], size: int = -1, /) -> Buffer: ...
    def from_buffer(self, cdecl: str, data: bytes, /) -> Array[unsigned_char]: ...
    def gc(self, cdata: Pointer[T], free: Callable[[Pointer[T]], object], /) -> Pointer[T]: ...
    def sizeof(self, cdecl: str, /) -> int: ...
    def string(self, cdata: Pointer[char] | Pointer[unsigned_char], /) -> bytes: ...
    def unpack(self, cdata: Pointer[char], length: int, /) -> bytes: ...'''


class Parser(cparser.Parser):
    """cffi's parser, changed to keep the names of arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.arguments: dict[str, list[str | None]] = {}

    def _declare_function(self, declared: Any, quals: Any, node: Any) -> None:
        parameters = node.type.args.params if node.type.args is not None else []
        self.arguments[node.name] = [parameter.name for parameter in parameters]
        super()._declare_function(declared, quals, node)  # type: ignore[misc]


class Stub:
    """The stub of one module."""

    def __init__(self, paths: Iterable[Path]) -> None:
        # By the name in C: the class in the stub, and Python's type for a value.
        self.classes: dict[str, tuple[str, str]] = {}
        self.targets: dict[str, Any] = {}  # what there are pointers to, by its name in C
        self.fields: dict[str, list[tuple[str, str]]] = {}  # by their names: owner and type
        self.lib: list[str] = []
        self.externs: list[tuple[str, str]] = []
        for declared in (model.void_type, *map(model.PrimitiveType, ("char", "unsigned char"))):
            self.target(declared)  # FFI names them
        parser: Any = Parser()
        for path in paths:
            parser.parse(path.read_text())
        for key, (declared, _) in parser._declarations.items():
            kind, name = key.rsplit(" ", 1)
            if kind == "function":
                self.lib.append(self.function(name, declared, parser.arguments[name]))
            elif kind in ("macro", "constant"):
                self.lib.append(f"    {name}: int")
            elif kind == "extern_python_plus_c":
                self.lib.append(f"    {name}: {self.target(declared)}")
                self.externs.append((name, self.target(declared.as_raw_function())))
            elif kind not in ("typedef", "anonymous"):
                raise NotImplementedError(f"a declaration of the kind {kind}: {name}")

    def function(self, name: str, declared: Any, names: list[str | None]) -> str:
        arguments = ["self"]
        for number, each in enumerate(declared.args):
            word = names[number] or f"_{number}"
            arguments.append(f"{word}{'_' * keyword.iskeyword(word)}: {self.argument(each)}")
        arguments += ["/"] if declared.args else []
        result = self.value(declared.result)
        return f"    def {name}({', '.join(arguments)}) -> {result}: ..."

    def argument(self, declared: Any) -> str:
        """The type of an argument. ``void *`` takes any pointer, and ``char *`` takes bytes too."""
        value = self.value(declared)
        value = "Pointer[Any]" if value == "Pointer[void]" else value
        takes_bytes = value in ("Pointer[Any]", "Pointer[char]", "Pointer[unsigned_char]")
        return f"{value} | bytes" if takes_bytes else value

    def value(self, declared: Any) -> str:
        """The type of a result or a field. It is Python's own type, if there is one."""
        target = self.target(declared)
        return self.classes.get(written(declared), (target, target))[1] or target

    def target(self, declared: Any) -> str:
        """The class that a Pointer points to. Each type of C has a class."""
        if isinstance(declared, model.RawFunctionType):
            values = ", ".join(map(self.value, declared.args))
            return f"Callable[[{values}], {self.value(declared.result)}]"
        if isinstance(declared, model.FunctionPtrType):
            return f"Pointer[{self.target(declared.as_raw_function())}]"
        if isinstance(declared, model.ArrayType):
            return f"Array[{self.target(declared.item)}]"
        if isinstance(declared, model.PointerType):
            self.targets.setdefault(written(declared.totype), declared.totype)
            return f"Pointer[{self.target(declared.totype)}]"
        name = written(declared)
        if name == "int" or not name:  # a union without a name is one that nobody can point to
            return name or "Any"
        if name not in self.classes:
            base = ""
            if isinstance(declared, model.VoidType):
                base = "None"
            elif not isinstance(declared, model.StructOrUnion):
                base = "bytes" if name == "char" else "int"
            self.classes[name] = name.replace(" ", "_"), base
            for field, kind in zip(*fields(declared), strict=True):
                self.fields.setdefault(field, []).append((name, self.value(kind)))
        return self.classes[name][0]

    def text(self, summary: str) -> str:
        lines = [START.format(summary=summary)]
        for field, kinds in self.fields.items():
            owners = " | ".join(f"Pointer[{owner}]" for owner, _ in kinds)
            types = " | ".join(dict.fromkeys(kind for _, kind in kinds))
            lines += ["    @property", f"    def {field}(self: {owners}) -> {types}: ..."]
        lines.append(FFI)
        for signatures in (self.news(), self.casts(), self.decorators()):
            lines += methods(signatures)
        lines.append("")
        for name, base in self.classes.values():
            bases = f"({base})" if base in ("bytes", "int") else ""
            lines.append(f"class {name}{bases}: ...")
        return "\n".join([*lines, "", "class Lib:", *self.lib, "", "ffi: FFI", "lib: Lib", ""])

    def news(self) -> Iterator[str]:
        """The types that ``ffi.new`` can make: those with a known size, and arrays of them."""
        for name, declared in self.targets.items():
            target, value = self.target(declared), self.value(declared)
            if isinstance(declared, model.StructOrUnion):
                value = "Any"
                if not fields(declared)[0]:
                    continue
            if isinstance(declared, (model.VoidType, model.BaseFunctionType)):
                continue
            yield f'new(self, cdecl: Literal["{pointer_to(name)}"], init: {value} = ..., /)' + (
                f" -> Pointer[{target}]"
            )
            several = "bytes" if name.endswith("char") else f"Sequence[{value}]"
            array = f"{name}[]"
            yield f'new(self, cdecl: Literal["{array}"], init: int | {several}, /)' + (
                f" -> Array[{target}]"
            )

    def casts(self) -> Iterator[str]:
        kinds = {
            f'Literal["{pointer_to(name)}"]': f"Pointer[{self.target(declared)}]"
            for name, declared in self.targets.items()
            if not isinstance(declared, model.BaseFunctionType)
        }
        integers = (f'"{name}"' for name, (_, base) in self.classes.items() if base == "int")
        kinds[f"Literal[{', '.join(integers)}]"] = "Integer"
        for literal, result in kinds.items():
            yield f"cast(self, cdecl: {literal}, value: Pointer[Any] | int, /) -> {result}"

    def decorators(self) -> Iterator[str]:
        for name, function in self.externs:
            yield (
                f'def_extern(self, name: Literal["{name}"], *, error: int = 0, onerror: OnError)'
                + (f" -> Callable[[{function}], {function}]")
            )


def written(declared: Any) -> str:
    """Returns a type as C writes it, without const, which cffi ignores."""
    if isinstance(declared, (model.FunctionPtrType, model.RawFunctionType)):
        return "function"
    if isinstance(declared, model.VoidType):
        return "void"
    if isinstance(declared, model.PointerType):
        return pointer_to(written(declared.totype))
    is_struct = isinstance(declared, model.StructOrUnion)
    return str(getattr(declared, "forcename" if is_struct else "name", None) or "")


def pointer_to(name: str) -> str:
    return f"{name}*" if name.endswith("*") else f"{name} *"


def fields(declared: Any) -> tuple[list[str], list[Any]]:
    """Returns the names of a struct's fields, and their types."""
    return getattr(declared, "fldnames", None) or [], getattr(declared, "fldtypes", None) or []


def methods(signatures: Iterable[str]) -> list[str]:
    """Returns the lines of one method. It is overloaded if there are several signatures."""
    lines = [f"    def {signature}: ..." for signature in signatures]
    return lines if len(lines) < 2 else [line for each in lines for line in ("    @overload", each)]


@functools.cache
def stubs() -> dict[Path, str]:
    """Returns the text of each stub, by its file. It leaves out what OpenSSL 4 hides."""
    return {
        build_ffi.PACKAGE / "_native" / "_libssl.pyi": Stub(build_ffi.libssl_declarations()).text(
            "The tickets' half of libssl, as build_ffi.libssl declares it."
        ),
        build_ffi.PACKAGE / "_system_openssl" / "_pyopenssl.pyi": Stub(
            build_ffi.pyopenssl_declarations(4)
        ).text("What pyOpenSSL calls, as build_ffi.pyopenssl declares it."),
    }


if __name__ == "__main__":
    for path, text in stubs().items():
        path.write_text(text)
