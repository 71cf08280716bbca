"""
``make package``: builds wheel and sdist, checks their contents and metadata, and tests the wheel as a user gets it.

The test runs in an empty environment and in a folder outside of the checkout, so that nothing but the wheel and the
packages that it requires can be imported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from dev.airflow import ROOT, settings_of, without_airflow
from dev.terminal import console, run_tool, step

DIST = ROOT / "dist"
CONSTRAINTS = ROOT / "constraints" / "airflow-3.3.txt"
#: What Airflow's provider discovery finds; it imports nothing but the standard library, pytest and the package.
TEST = ROOT / "tests" / "test_provider_discovery.py"
PACKAGE = "airflow_provider_firstpromoter"
#: Paths that the sdist must have beside the package, so that it can be tested and its documentation be built.
IN_SDIST: tuple[str, ...] = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "mkdocs.yml",
)
IN_SDIST += ("constraints/airflow-3.3.txt", "dags_examples/refund_sync.py", "dev/package.py", "docs/quickstart.md")
IN_SDIST += ("tests/conftest.py",)


class PackageError(Exception):
    """The package is wrong; the message says what."""


def main() -> int:
    try:
        _check_package()
    except PackageError as error:
        console.print(f"[red]{error}[/]")
        return 1
    return 0


def _check_package() -> None:
    with step("Wheel and sdist are built"):
        shutil.rmtree(DIST, ignore_errors=True)
        _run(_tool("uv"), "build", "--quiet", "--out-dir", str(DIST))
        [wheel], [sdist] = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    with step("Their contents and metadata are complete"):
        _check_wheel(wheel)
        _check_sdist(sdist)
        _run(_tool("twine"), "check", "--strict", str(wheel), str(sdist))
    with tempfile.TemporaryDirectory(prefix="firstpromoter-package-") as name:
        folder = Path(name)
        python = folder / "venv" / "bin" / "python"
        with step("The wheel is installed into an empty environment"):
            _run(_tool("uv"), "venv", "--quiet", "--python", sys.executable, str(folder / "venv"))
            install = ("pip", "install", "--quiet", "--python", str(python), "--constraint", str(CONSTRAINTS))
            _run(_tool("uv"), *install, str(wheel), "pytest")
        environment = without_airflow(os.environ) | settings_of(folder / "airflow", folder / "dags")
        environment.pop("PYTHONPATH", None)
        with step("Airflow finds the provider in it"):
            shutil.copy(TEST, folder)
            _run(str(python), "-m", "pytest", "-q", "--rootdir", name, TEST.name, cwd=folder, env=environment)
        with step("Its command line works in it"):
            _run(str(python), "-m", PACKAGE, "ddl", "--dialect", "postgresql", cwd=folder, env=environment)


def _check_wheel(wheel: Path) -> None:
    """Check that the wheel has every file of the package and nothing else."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", PACKAGE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    expected = set(listed.splitlines()) or {name for name in names if name.startswith(f"{PACKAGE}/")}
    if different := sorted(names ^ expected):
        raise PackageError(f"The wheel and the package have different files: {', '.join(different)}")


def _check_sdist(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    if missing := [name for name in IN_SDIST if name not in names]:
        raise PackageError(f"The sdist lacks {', '.join(missing)}")


def _tool(name: str) -> str:
    """Return the path of a command of this environment."""
    return str(Path(sys.executable).parent / name)


def _run(*command: str, cwd: Path = ROOT, env: Mapping[str, str] = os.environ) -> None:
    done = subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False
    )
    if done.returncode:
        console.print(done.stdout, markup=False, soft_wrap=True)
        raise PackageError(f"`{' '.join(command)}` ended with exit code {done.returncode}")


if __name__ == "__main__":
    sys.exit(run_tool(main))
