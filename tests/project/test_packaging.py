"""What the packages are made from: one version, complete lists of files, and the same CPythons."""

from __future__ import annotations

import configparser
import datetime
import email
import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

import openssl_tickets

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
UNRELEASED = "Unreleased"

# What builds and runs leave in a working tree.
LEFT_BEHIND = """
    .tox/log
    .venv/pyvenv.cfg
    build/lib/openssl_tickets/SSL.py
    dist/openssl_tickets-0.tar.gz
    docs/_build/index.html
    openssl_tickets/_native/_libssl.abi3.so
    openssl_tickets/_native/_libssl.c
    openssl_tickets/_system_openssl/_pyopenssl.c
    openssl_tickets/__pycache__/SSL.cpython-310.pyc
    tests/__pycache__/tls.cpython-310.pyc
    server.pem
"""


def sections(changelog: str) -> dict[str, str]:
    """Returns what is below each heading of a version, by what the heading says."""
    parts = re.split(r"^## (.*)\n", changelog, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def problems(changelog: str, stated: str) -> list[str]:
    """Returns what is wrong with a changelog whose package states the version *stated*."""
    found = []
    released = []
    contents = sections(changelog)
    for heading in contents:
        match = re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", heading)
        if match:
            released.append((Version(match[1]), datetime.date.fromisoformat(match[2])))
        elif heading != f"[{UNRELEASED}]" or released:
            found.append(f"not a version with its date, in its place: {heading}")
    if released != sorted(released, reverse=True) or len({v for v, _ in released}) < len(released):
        found.append("the versions are not in order, the newest first")
    newest = max(released)[0] if released else None
    unreleased = contents.get(f"[{UNRELEASED}]", "").strip()
    if newest and Version(stated) < newest:
        found.append(f"{newest} is newer than what the package states, {stated}")
    if newest == Version(stated) and unreleased:
        found.append(f"there is something new since {stated}, and the version is the same")
    if newest != Version(stated) and f"[{UNRELEASED}]" not in contents:
        found.append(f"there is neither {stated} nor {UNRELEASED}")
    return found


def test_changelog_agrees_with_the_version() -> None:
    """What the package calls itself is its newest release, or is newer and has its notes."""
    assert problems((ROOT / "CHANGELOG.md").read_text(), openssl_tickets.__version__) == []


NOTES = "\n### Added\n\n- A thing.\n\n"


@pytest.mark.parametrize(
    ("changelog", "version", "problem"),
    [
        (f"## [Unreleased]\n{NOTES}", "0.1.0", None),
        (f"## [0.1.0] - 2026-01-02\n{NOTES}", "0.1.0", None),
        (f"## [Unreleased]\n\n## [0.1.0] - 2026-01-02\n{NOTES}", "0.1.0", None),
        (f"## [Unreleased]\n\n## [0.1.0] - 2026-01-02\n{NOTES}", "0.2.0.dev0", None),
        (f"## [Unreleased]\n{NOTES}## [0.1.0] - 2026-01-02\n{NOTES}", "0.2.0.dev0", None),
        (f"## [Unreleased]\n{NOTES}## [0.1.0] - 2026-01-02\n{NOTES}", "0.1.0", "something new"),
        (f"## [0.2.0] - 2026-01-02\n{NOTES}", "0.1.0", "0.2.0 is newer"),
        (f"## [0.1.0] - 2026-01-02\n{NOTES}", "0.2.0", "neither 0.2.0 nor Unreleased"),
        (f"## [0.1.0]\n{NOTES}", "0.1.0", "not a version with its date"),
        ("## [0.1.0] - 2026-01-02\n## [Unreleased]\n", "0.1.0", "in its place"),
        ("## [0.1.0] - 2026-01-02\n## [0.2.0] - 2026-02-02\n", "0.2.0", "not in order"),
        ("## [0.2.0] - 2026-01-02\n## [0.1.0] - 2026-02-02\n", "0.2.0", None),
    ],
)
def test_disagreement_is_found(changelog: str, version: str, problem: str | None) -> None:
    """A changelog that does not go with the version is found, and why."""
    found = problems(changelog, version)
    assert problem in found[0] if problem else not found


def test_installed_version() -> None:
    """What is installed, and the package itself, say the same version."""
    assert importlib.metadata.version("openssl_tickets") == openssl_tickets.__version__


def test_version_is_in_one_place() -> None:
    """The version is written down once, in the package."""
    sources = [ROOT / "pyproject.toml", ROOT / "setup.py", ROOT / "build_ffi.py"]
    sources += [*ROOT.glob("docs/conf.py"), *ROOT.glob("openssl_tickets/**/*.py")]
    literal = re.compile(rf"""["']{re.escape(openssl_tickets.__version__)}["']""")
    assert [path.name for path in sources if literal.search(path.read_text())] == ["__init__.py"]


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """The files of the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout of the repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return listed.stdout.strip("\0").split("\0")


@pytest.fixture(scope="module")
def checkout(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, with what builds and runs leave behind."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in LEFT_BEHIND.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def setup(checkout: Path, *command: str) -> None:
    """Runs a command of setuptools there."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "setup.py", "-q", *command],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def egg_info(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What setuptools writes about the package, without building it."""
    folder = tmp_path_factory.mktemp("egg_info")
    setup(checkout, "egg_info", "--egg-base", str(folder))
    return folder / "openssl_tickets.egg-info"


def test_sdist_holds_the_repository(tracked: list[str], egg_info: Path) -> None:
    """A source distribution holds the repository's files, and nothing else that lies about."""
    sources = (egg_info / "SOURCES.txt").read_text().splitlines()
    setuptools = {str(path) for path in egg_info.iterdir()}
    assert sorted(set(sources) - setuptools) == sorted(tracked)


def test_wheel_holds_the_package(tracked: list[str], checkout: Path, tmp_path: Path) -> None:
    """A wheel holds the package's Python and types, and neither C nor declarations."""
    setup(checkout, "build_py", "--build-lib", str(tmp_path))
    built = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    package = re.compile(r"(openssl_tickets/.*|_openssl_tickets_pytest)\.(py|pyi|typed)")
    assert built == {name for name in tracked if package.fullmatch(name)}


def described(egg_info: Path) -> list[str]:
    """Returns the CPythons that the package says it is for."""
    about = email.message_from_string((egg_info / "PKG-INFO").read_text())
    classifiers = "\n".join(about.get_all("Classifier", []))
    return re.findall(r"^Programming Language :: Python :: (3\.\d+)$", classifiers, re.MULTILINE)


def test_same_cpythons_everywhere(egg_info: Path) -> None:
    """The classifiers, tox and the workflow name the same CPythons, from the oldest that may be."""
    about = email.message_from_string((egg_info / "PKG-INFO").read_text())
    cpythons = described(egg_info)
    assert about["Requires-Python"] == f">={cpythons[0]}"
    assert about["Version"] == openssl_tickets.__version__
    minors = [re.fullmatch(r"py3(\d+)", name) for name in full()]
    assert [f"3.{minor[1]}" for minor in minors if minor] == cpythons
    matrix = re.findall(r"^ +python: \[(.*)\]$", WORKFLOW.read_text(), re.MULTILINE)
    assert [re.findall(r'"(.*?)"', versions) for versions in matrix] == [cpythons]


def tox() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.read(ROOT / "tox.ini")
    return parser


def environments() -> set[str]:
    """Returns the environments that tox.ini has a section for, and the one of any CPython."""
    return {"py"} | {name.removeprefix("testenv:") for name in tox() if ":" in name}


def full() -> list[str]:
    """Returns the environments of `tox run -m full`."""
    (environments,) = re.findall(r"^full = (.*)$", tox()["tox"]["labels"], re.MULTILINE)
    return str(environments).split(", ")


def test_workflow_runs_what_tox_knows() -> None:
    """The workflow names environments that tox has; it leaves out none of the two main commands."""
    workflow = WORKFLOW.read_text()
    # A job with a matrix names them there.
    lists = re.findall(
        r"tox run -e ([\w,-]+)|^ +(?:tox|env): (?:\[(.+)\]|(\w\S*))$", workflow, re.M
    )
    named = set(re.findall(r"[\w-]+", " ".join(" ".join(names) for names in lists)))
    assert named - environments() == set()
    wanted = {*tox()["tox"]["env_list"].split(", "), *full()}
    assert {name for name in wanted - named if not re.fullmatch(r"py3\d+", name)} == set()


def test_release_checklist_runs_what_tox_knows() -> None:
    """The release checklist names environments that tox has."""
    checklist = (ROOT / "docs" / "releasing.md").read_text()
    named = set(",".join(re.findall(r"tox run -e (\S+)", checklist)).split(","))
    assert {"packages", "conformance"} <= named <= environments()
