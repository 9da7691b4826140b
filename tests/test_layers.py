"""The architecture is a test: layers, the homes of third parties, file lengths, macros."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["core", "kernels", "runtime", "comm", "schedules", "models"]
MAY_INCLUDE = {layer: set(LAYERS[: position + 1]) for position, layer in enumerate(LAYERS)}
MAY_INCLUDE["io"] = {"core", "runtime", "comm", "io"}

NATIVE = [
    path
    for folder in ("cpp", "bindings", "cuda", "tests/cpp", "bench/cpp")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".hpp", ".cpp", ".cu", ".cuh"}
]
LIBRARY = [path for path in NATIVE if path.is_relative_to(ROOT / "cpp")]
PYTHON = [path for folder in ("python", "tests", "bench", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]
MACROS = {"STEPPE_HD", "STEPPE_MULTIVERSION"}
HARD_LIMIT = 600


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), flags=re.MULTILINE)


def who_includes(pattern: str) -> set[str]:
    return {name_of(path) for path in NATIVE if any(re.search(pattern, header) for header in includes(path))}


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_a_layer_includes_itself_and_those_below(path):
    layer = path.relative_to(ROOT / "cpp" / "steppe").parts[0]
    for header in includes(path):
        if header.startswith("steppe/"):
            assert header.split("/")[1] in MAY_INCLUDE[layer], f"{layer} must not include {header}"
            assert (ROOT / "cpp" / header).exists(), f"{header} does not exist"


def test_one_file_includes_mpi():
    assert who_includes(r"^mpi\.h$") == {"cpp/steppe/comm/mpi_link.cpp"}


def test_cuda_stays_under_cuda():
    strays = {name for name in who_includes(r"^(cuda[^/]|cub/|cublas|thrust/|mma\.h)") if not name.startswith("cuda/")}
    assert strays == set()
    callers = {name for name in who_includes(r"^cuda/") if not name.startswith(("cuda/", "tests/cpp/"))}
    assert callers == {"bindings/cuda_module.cpp"}


def test_pybind11_stays_under_bindings():
    strays = {name for name in who_includes(r"^(pybind11/|Python\.h)") if not name.startswith("bindings/")}
    assert strays == set()


def test_openmp_is_simd_only():
    assert who_includes(r"^omp\.h$") == set()
    pragmas = [
        f"{name_of(path)}: {line.strip()}"
        for path in NATIVE
        for line in path.read_text().splitlines()
        if re.match(r"\s*#\s*pragma\s+omp\b(?!\s+(simd|declare\s+simd))", line)
    ]
    assert pragmas == []


@pytest.mark.parametrize("path", NATIVE + PYTHON, ids=name_of)
def test_no_file_is_longer_than_the_hard_limit(path):
    assert len(path.read_text().splitlines()) <= HARD_LIMIT


def test_the_library_has_two_macros():
    define = re.compile(r"^\s*#\s*define\s+(\w+)", flags=re.MULTILINE)
    defined = {macro for path in LIBRARY for macro in define.findall(path.read_text())}
    assert defined == MACROS


def test_headers_are_guarded_by_pragma_once():
    unguarded = [name_of(path) for path in NATIVE if path.suffix == ".hpp" and "#pragma once" not in path.read_text()]
    assert unguarded == []


def test_libraries_neither_print_nor_exit():
    forbidden = re.compile(r"\b(std::cout|std::cerr|printf|puts|abort|exit|_Exit|quick_exit)\s*(\(|<<)")
    strays = [
        f"{name_of(path)}: {line.strip()}"
        for path in LIBRARY
        for line in path.read_text().splitlines()
        if forbidden.search(line.split("//")[0])
    ]
    assert strays == []


def test_files_of_cpp_tests_are_named_so_that_ctest_runs_them():
    tests = [path for path in NATIVE if "TEST_CASE" in path.read_text() and path.suffix == ".cpp"]
    assert [name_of(path) for path in tests if not path.name.startswith("test_")] == []


def test_nothing_is_left_for_later():
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    here = Path(__file__).resolve()
    strays = [name_of(path) for path in NATIVE + PYTHON if path.resolve() != here and marks.search(path.read_text())]
    assert strays == []


def test_the_repository_tracks_no_build_output():
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    tracked = listed.stdout.splitlines()
    assert [name for name in tracked if re.search(r"(\.so|\.o|\.a|\.pyc|\.whl)$", name)] == []
