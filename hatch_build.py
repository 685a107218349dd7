"""Compile the hot path with mypyc: a step of building a wheel, and a program that makes a compiled copy of `src`.

    POINTSMAN_COMPILE=1 pip install .         a wheel of this platform instead of the one in pure Python
    python hatch_build.py [FOLDER]            a copy of src with the compiled modules beside it: PYTHONPATH=FOLDER

The source is the same Python either way (docs/compiled.md). Both need a C compiler and Python's headers.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import os
import shutil
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WANTED = "POINTSMAN_COMPILE"  # an environment variable: 1 asks for a compiled wheel
ROOT = Path(__file__).resolve().parent
HOOK = "[tool.hatch.build.hooks.custom] modules in pyproject.toml"


class CompiledModules(BuildHookInterface[Any]):
    """Add the compiled modules to a wheel, when they are asked for."""

    def dependencies(self) -> list[str]:
        """Return what the build needs; the packages we import among it, for their types."""
        return ["mypy>=2.4", "setuptools>=65", *self.metadata.core.dependencies] if self._wanted("standard") else []

    def initialize(self, kind: str, build_data: dict[str, Any]) -> None:
        """Compile, and make the wheel one of this platform."""
        if not self._wanted(kind):
            return
        folder = Path(self.directory) / "compiled"
        for path in compiled(Path(self.root), folder, self.config["modules"]):
            build_data["force_include"][str(path)] = str(path.relative_to(folder))
        build_data["pure_python"], build_data["infer_tag"] = False, True

    def _wanted(self, kind: str) -> bool:
        return self.target_name == "wheel" and kind != "editable" and os.environ.get(WANTED) == "1"


def compiled(root: Path, folder: Path, modules: list[str]) -> list[Path]:
    """Copy `src` to a folder and compile modules there; return the files that were made.

    A folder that has them of the same sources, mypyc and Python is left as it is. Raise SystemExit when a module cannot
    be compiled as it stands.
    """
    sources = [root / "src" / "pointsman" / name for name in modules]
    for source in sources:
        refuse(source)
    package, stamp = folder / "pointsman", folder / "stamp"
    files = [
        path for path in sorted((root / "src" / "pointsman").rglob("*")) if path.is_file() and path.suffix != ".pyc"
    ]
    now = hashlib.sha256(b"".join([f"{path}".encode() + path.read_bytes() for path in (*files, Path(__file__))]))
    wanted = f"{sys.implementation.cache_tag} mypy {version('mypy')} {now.hexdigest()} {' '.join(modules)}"
    if not stamp.exists() or stamp.read_text() != wanted:
        stamp.unlink(missing_ok=True)
        shutil.rmtree(package, ignore_errors=True)
        shutil.copytree(root / "src" / "pointsman", package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        translate(folder, [f"pointsman/{name}" for name in modules])
        stamp.write_text(wanted)
    return sorted([*folder.glob("pointsman__mypyc*"), *package.rglob("*.so")])


def listed() -> list[str]:
    """Return the modules that are compiled."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return list(project["tool"]["hatch"]["build"]["hooks"]["custom"]["modules"])


def refuse(source: Path) -> None:
    """Raise SystemExit for a module that would become another one: mypyc drops the keywords of a class statement, and `frozen`
    or `array_like` of a Struct with them (python/mypy issue 21938)."""
    if not source.is_file():
        raise SystemExit(f"{source} is not there: see {HOOK}")
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ClassDef) and node.keywords:
            raise SystemExit(
                f"{source}:{node.lineno}: class {node.name} has keywords, which a compiled module would lose: "
                f"move it to a module that is not in {HOOK}"
            )


def translate(folder: Path, paths: list[str]) -> None:
    """Compile files of a folder, in place."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    for old in (*folder.glob("pointsman__mypyc*"), folder / "work" / "library"):
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)  # a module may be in the list no more
    with contextlib.chdir(folder):
        options = ["--strict", "--no-warn-unused-ignores", "--ignore-missing-imports", "--cache-dir", "work/mypy"]
        made = mypycify([*options, *paths], group_name="pointsman", target_dir="work", multi_file=True, debug_level="0")
        command = build_ext(Distribution({"name": "pointsman", "ext_modules": made}))
        command.build_temp, command.build_lib, command.inplace = "work/objects", "work/library", False
        command.parallel = os.cpu_count()
        command.ensure_finalized()
        with contextlib.redirect_stdout(io.StringIO()):  # each command of the compiler
            command.run()
        for path in paths:
            name = path.removesuffix(".py").replace("/", "___")
            check_defaults(Path(path), Path(f"work/__native_{name}.c").read_text())
        for path in Path("work/library").rglob("*.so"):
            shutil.copy2(path, path.relative_to("work/library"))


def check_defaults(source: Path, made: str) -> None:
    """Raise SystemExit when the C made of a module does not set what stands in a class body as the default of an attribute.

    mypyc leaves out `= None` where the type is a Protocol, or a choice of several."""
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.ClassDef) and not {"NamedTuple", "StrEnum"} & set(map(ast.unparse, node.bases)):
            setting = made.partition(f"CPyDef_{source.stem}___{node.name}_____mypyc_defaults_setup(PyObject")[2]
            body = setting.partition("\n}\n")[0]
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None:
                    name = line.target.id
                    if "ClassVar" not in ast.unparse(line.annotation) and f"->_{name} = " not in body:
                        raise SystemExit(
                            f"{source}:{line.lineno}: the default of {node.name}.{name} would be lost: set it in __init__"
                        )


if __name__ == "__main__":
    asked = listed()
    into = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "compiled").resolve()
    print(f"{len(compiled(ROOT, into, asked))} files of {len(asked)} modules: PYTHONPATH={into}")
