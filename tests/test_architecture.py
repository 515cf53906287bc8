"""The rules of the house that a reader of one file cannot see: who imports whom, and what is never called.

Everything is read from the syntax trees, so a rule holds for imports inside functions too.
"""

from __future__ import annotations

import ast
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = sorted((ROOT / "core").rglob("*.py"))
WEBUI = sorted((ROOT / "webui").rglob("*.py"))
PRODUCT = [*CORE, *WEBUI, ROOT / "app.py"]

HEAVY = {"torch", "transformers", "peft", "accelerate", "bitsandbytes", "datasets", "trl"}
# What the page's start and `--help` need: importing one of these costs no model library.
LIGHT = ["core.errors", "core.i18n", "core.workspace", "core.settings", "core.workbench", "app", "webui.page"]
# Modules whose loaders run code that is in the file.
PICKLING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
RANKS = {
    "data": 1,
    "models": 1,
    "adapters": 2,
    "training": 3,
    "exports": 3,
    "chat": 3,
    "evaluation": 4,
    "workbench": 5,
    "commands": 6,
    "api": 6,
}


def test_core_never_imports_gradio_or_the_page() -> None:
    assert _imports_of(CORE, {"gradio", "gradio_client", "webui", "app"}) == []


def test_the_page_never_imports_a_model_library() -> None:
    assert _imports_of(WEBUI, HEAVY) == []


def test_a_room_of_core_imports_only_rooms_below_it() -> None:
    upward = [
        f"{_name(file)}:{line} imports {module}"
        for file in CORE
        for line, module in _imported_modules(file)
        if module.startswith("core.") and _rank(module) > _rank(".".join(_name(file).removesuffix(".py").split("/")))
    ]
    assert upward == []


@pytest.mark.parametrize("banned", ["eval", "exec", "compile", "__import__", "breakpoint"])
def test_nothing_is_evaluated_as_code(banned: str) -> None:
    assert _calls(banned) == []


def test_no_format_that_runs_code_is_read() -> None:
    assert _imports_of(PRODUCT, PICKLING) == []
    assert _calls("pd.read_pickle") + _calls("pandas.read_pickle") == []
    assert _calls("yaml.unsafe_load") + _calls("yaml.full_load") == []
    assert [place for place, loader in _yaml_loaders() if not loader.startswith("yaml.SafeLoader")] == []


def test_torch_reads_tensors_and_plain_values_only() -> None:
    loads = [call for file in PRODUCT for call in _nodes(file, ast.Call) if ast.unparse(call.func) == "torch.load"]
    assert loads
    for call in loads:
        safe = [word.value for word in call.keywords if word.arg == "weights_only"]
        assert [getattr(value, "value", None) for value in safe] == [True], ast.unparse(call)


@pytest.mark.parametrize("banned", ["os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"])
def test_no_shell_is_started(banned: str) -> None:
    assert _calls(banned) == []


@pytest.mark.parametrize("keyword", ["shell", "trust_remote_code", "allow_pickle", "share_server_address"])
def test_a_dangerous_switch_is_never_anything_but_off(keyword: str) -> None:
    switched = [
        f"{_name(file)}:{call.lineno}"
        for file in PRODUCT
        for call in _nodes(file, ast.Call)
        for argument in call.keywords
        if argument.arg == keyword and not (isinstance(argument.value, ast.Constant) and not argument.value.value)
    ]
    assert switched == []


def test_core_speaks_through_events_and_errors_not_through_print() -> None:
    assert [found for found in _calls("print") if found.startswith("core/")] == []


@pytest.mark.parametrize("word", ["utils", "helpers", "helper", "manager", "common", "misc"])
def test_no_module_is_named_after_nothing(word: str) -> None:
    assert [_name(file) for file in PRODUCT if file.stem == word] == []


def test_the_data_folders_hold_no_python() -> None:
    assert [str(file) for folder in ("models", "loras", "training") for file in (ROOT / folder).rglob("*.py")] == []


@pytest.mark.parametrize("module", LIGHT)
def test_the_page_and_the_help_start_without_a_model_library(module: str) -> None:
    """Follows the imports that run when the module is imported, through every module of ours."""
    assert _heavy_at_import(module, set()) == []


@pytest.mark.parametrize("file", PRODUCT, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_says_what_it_owns(file: Path) -> None:
    tree = _tree(file)
    assert ast.get_docstring(tree) or not tree.body


def _heavy_at_import(module: str, seen: set[str]) -> list[str]:
    seen.add(module)
    file = _file_of(module)
    if file is None:
        return []
    found = []
    for line, imported in _imported_modules(file, at_import_only=True):
        if imported.split(".")[0] in HEAVY:
            found.append(f"{_name(file)}:{line} imports {imported}")
        elif imported not in seen:
            found += _heavy_at_import(imported, seen)
    return found


def _file_of(module: str) -> Path | None:
    place = ROOT.joinpath(*module.split("."))
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in candidates if file.exists()), None)


def _rank(module: str) -> int:
    """How high a room of core stands; 0 for the foundation that everyone may import."""
    return RANKS.get(module.split(".")[1] if "." in module else "", 0)


def _imports_of(files: list[Path], banned: set[str]) -> list[str]:
    return [
        f"{_name(file)}:{line} imports {module}"
        for file in files
        for line, module in _imported_modules(file)
        if module.split(".")[0] in banned
    ]


def imported_packages(files: list[Path]) -> set[str]:
    """Top-level names of everything that is imported, also inside functions."""
    return {module.split(".")[0] for file in files for _, module in _imported_modules(file)}


def _imported_modules(file: Path, at_import_only: bool = False) -> list[tuple[int, str]]:
    """(line, module) of every import; `from core import errors` counts as `core` and as `core.errors`."""
    found = []
    for node in _running_at_import(_tree(file)) if at_import_only else ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(file)}:{node.lineno}: imports are absolute here"
            module = node.module or ""
            found.append((node.lineno, module))
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


def _running_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those in functions and under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _running_at_import(node)


def _calls(name: str) -> list[str]:
    """Where `name(…)` is called, `name` as it is written: `print`, `torch.load`."""
    return [
        f"{_name(file)}:{call.lineno}"
        for file in PRODUCT
        for call in _nodes(file, ast.Call)
        if ast.unparse(call.func) == name
    ]


def _yaml_loaders() -> list[tuple[str, str]]:
    """Where `yaml.load` is called, and the bases of the loader class of the same file that it is called with."""
    return [
        (f"{_name(file)}:{call.lineno}", bases.get(ast.unparse(argument.value), ""))
        for file in PRODUCT
        for bases in [
            {
                node.name: ", ".join(map(ast.unparse, node.bases))
                for node in _tree(file).body
                if isinstance(node, ast.ClassDef)
            }
        ]
        for call in _nodes(file, ast.Call)
        if ast.unparse(call.func) == "yaml.load"
        for argument in call.keywords or [ast.keyword(value=ast.Constant(None))]
    ]


def _nodes(file: Path, kind: type[ast.Call]) -> Iterator[ast.Call]:
    return (node for node in ast.walk(_tree(file)) if isinstance(node, kind))


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def test_a_test_that_leaves_the_machine_fails() -> None:
    with socket.socket() as stranger, pytest.raises(AssertionError, match="connection to"):
        stranger.connect(("192.0.2.1", 80))
