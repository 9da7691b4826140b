"""The stubs name what the native module has, no more and no less."""

import ast
from pathlib import Path

import steppe
from steppe import _core


def names_in_stub():
    tree = ast.parse((Path(steppe.__file__).parent / "_core.pyi").read_text())
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.AnnAssign):
            yield node.target.id


def test_stub_and_module_agree():
    runtime = {name for name in vars(_core) if not name.startswith("_")} | {"__version__"}
    assert set(names_in_stub()) == runtime
