"""The structure of the packages, read from the source: imports inside functions count."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("dsg_jax", "checkpoints_convert", "experiments")
ROOMS = ("papers", "calibrate", "quality", "speed", "train")
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imported_by(path: Path) -> set[str]:
    """Modules of ours and packages that a file imports, wherever in it but for its types alone."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in block.body
    }
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and id(node) not in for_types:
            modules = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in SOURCES else node.module for name in modules}
    return names


IMPORTS = {module: imported_by(path) for module, path in SOURCES.items()}


def test_no_module_imports_itself_round_a_circle():
    """A package's own ``__init__`` counts as what it imports, not as its modules' need of it."""
    left = {module: names & SOURCES.keys() for module, names in IMPORTS.items()}
    while free := [module for module, names in left.items() if not names & left.keys()]:
        for module in free:
            del left[module]
    assert not {module: names & left.keys() for module, names in left.items()}


def test_packages_look_one_way():
    for module, names in IMPORTS.items():
        package = module.split(".")[0]
        others = {name.split(".")[0] for name in names} & set(PACKAGES) - {package}
        allowed = {"dsg_jax"} if package != "dsg_jax" else set()
        if module in ("experiments.__main__", "dsg_jax.checkpoints"):  # above all the others
            allowed.add("checkpoints_convert")
        assert others <= allowed, module


def test_no_command_imports_another():
    for module, names in IMPORTS.items():
        room = next((r for r in ROOMS if module.startswith(f"experiments.{r}.")), None)
        others = [r for r in ROOMS if r != room]
        wrong = [n for n in names for r in others if n.startswith(f"experiments.{r}")]
        assert not wrong, module


def test_command_lines_are_made_in_few_places():
    users = {m for m, names in IMPORTS.items() if names & {"argparse", "tyro"}}
    assert users <= {
        *("experiments.cli", "experiments.__main__", "checkpoints_convert.__main__"),
        "experiments.speed.bench",  # it runs where no package of a command line is
    }


def test_slow_cases_are_cases():
    """Every line of the list names a test that is there, so that none becomes fast unseen."""
    folder = Path(__file__).parent
    lines = (folder / "slow_cases.txt").read_text().splitlines()
    for file, _, case in (line.partition("::") for line in lines if "::" in line):
        texts = [path.read_text() for path in folder.rglob(file)]
        assert any(f"def {case.partition('[')[0]}" in text for text in texts), (file, case)


@pytest.mark.parametrize("package", PACKAGES)
def test_files_and_functions_are_short(package):
    for module, path in SOURCES.items():
        if module.split(".")[0] != package:
            continue
        text = path.read_text()
        assert text.count("\n") <= 250, module
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = node.end_lineno - body[0].lineno + 1 if body else 0
                assert lines <= 40, f"{module}.{node.name}"


def test_no_test_imports_a_test():
    for path in (ROOT / "tests").rglob("*.py"):
        assert not [name for name in imported_by(path) if "test_" in name.rsplit(".", 1)[-1]], path
