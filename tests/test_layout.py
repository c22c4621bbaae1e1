"""The shape of the code: who may import whom, a test for every module, nothing heavy at start."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "seq2seq"
LAYERS = ["text", "nn", "training", "inference", "serving", "app"]  # a folder imports from itself and those before it
BESIDE = {"config", "errors", "checkpoint", "tensors"}  # for all of the folders, and none of them for these
HEAVY = {"torch", "datasets", "sentencepiece", "sacrebleu", "numpy", "pandas", "pyarrow", "matplotlib", "safetensors"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def imported_parts(source: str) -> set[str]:
    """First names below `seq2seq` that a module's source imports, anywhere in it: folders, modules or names."""
    parts = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        parts |= {name.split(".")[1] for name in names if name.startswith("seq2seq.")}
    return parts


def forbidden(folder: str, source: str) -> set[str]:
    """What a module in a folder (\"\" for the package itself) imports although it may not."""
    folders = imported_parts(source) & set(LAYERS)
    if folder == "":
        return folders
    return {name for name in folders if LAYERS.index(name) > LAYERS.index(folder)}


@pytest.mark.parametrize(
    ("folder", "source", "expected"),
    [
        ("nn", "from seq2seq.text.batching import Batch", set()),
        ("nn", "import seq2seq.nn.gru", set()),
        ("nn", "from seq2seq.config import ModelConfig", set()),
        ("nn", "def f():\n    from seq2seq.inference.search import search", {"inference"}),
        ("text", "from seq2seq import nn, errors", {"nn"}),
        ("", "import seq2seq.app.cli", {"app"}),
    ],
)
def test_the_layer_rule_can_fail(folder, source, expected):
    assert forbidden(folder, source) == expected


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_upward(path):
    folder = path.relative_to(PACKAGE).parts[0] if path.parent != PACKAGE else ""
    if folder == "" and path.stem not in BESIDE:
        return  # __init__ and __main__ are doors to the whole package
    assert not forbidden(folder, path.read_text(encoding="utf-8"))


def test_every_folder_has_its_place():
    folders = {path.parent.name for path in MODULES if path.parent != PACKAGE}
    assert folders <= set(LAYERS)
    assert {path.stem for path in MODULES if path.parent == PACKAGE} <= BESIDE | {"__init__", "__main__"}
    assert all((PACKAGE / folder / "__init__.py").is_file() for folder in folders)


def test_every_module_has_a_test_file():
    tests = {path.stem for path in (ROOT / "tests").glob("test_*.py")}
    modules = [path for path in MODULES if not path.stem.startswith("__")]
    shared = {stem for stem, count in Counter(path.stem for path in modules).items() if count > 1}
    missing = []
    for path in modules:
        names = {f"test_{path.parent.name}_{path.stem}"}  # two folders may each have a module of one name
        if path.stem not in shared or path.parent.name == "inference":
            names.add(f"test_{path.stem}")
        if not names & tests:
            missing.append(f"{path.relative_to(ROOT)}: tests/{min(names, key=len)}.py")
    assert not missing


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_prints_and_nothing_runs_at_import(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert "print" not in called
    assert not [n for n in tree.body if isinstance(n, (ast.For, ast.While, ast.With, ast.Try))]
    bare = [n for n in tree.body if isinstance(n, ast.Expr) and not isinstance(n.value, ast.Constant)]
    assert not bare, "a call at module level"


def loaded_modules(code: str) -> set[str]:
    """Top-level modules in memory after a fresh interpreter has run some code."""
    code = f"{code}\nimport sys; sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


RUN = "from seq2seq.app.cli import main\ntry: main({})\nexcept SystemExit as e: assert not e.code"


@pytest.mark.parametrize(
    "code",
    [
        "import seq2seq",
        "import seq2seq; seq2seq.__version__, dir(seq2seq)",
        RUN.format(["--help"]),
        RUN.format(["train", "--help"]),
        RUN.format(["translate", "--help"]),
        RUN.format(["evaluate", "--help"]),
        RUN.format(["score", "--help"]),
        RUN.format(["train-classifier", "--help"]),
        RUN.format(["classify", "--help"]),
        RUN.format(["serve", "--help"]),
    ],
)
def test_help_and_import_load_nothing_heavy(code):
    assert not loaded_modules(code) & HEAVY


def test_the_check_for_heavy_imports_can_fail():
    assert "numpy" in loaded_modules("import numpy") & HEAVY


def test_help_comes_at_once():
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "seq2seq", "--help"], cwd=ROOT, capture_output=True, check=True)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.5


def test_translator_is_found_in_the_package():
    import seq2seq
    from seq2seq.inference.translator import Translator

    assert seq2seq.Translator is Translator
    assert seq2seq.Classifier.__name__ == "Classifier"
    assert "Translator" in dir(seq2seq)
    with pytest.raises(AttributeError, match="Transformer"):
        _ = seq2seq.Transformer


def test_typing_marker_is_shipped():
    assert (PACKAGE / "py.typed").is_file()
    assert 'seq2seq = ["py.typed", ' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_scripts_hold_no_logic():
    for path in (ROOT / "scripts").glob("*.py"):
        if path.stem != "options_table":
            assert len(path.read_text(encoding="utf-8").splitlines()) < 20, f"{path} should call the package"


def test_text_of_the_project_names_no_machine_path():
    files = [*MODULES, *(ROOT / "scripts").rglob("*.py"), *(ROOT / "configs").glob("*"), *ROOT.glob("*.*")]
    for path in (path for path in files if path.is_file()):
        text = Path(path).read_text(encoding="utf-8")
        assert not any(start in text for start in ("/home/", "/root/", "/Users/", "/work/")), path
