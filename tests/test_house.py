"""The house: rooms in their order, equations that exist and are used, links that lead somewhere."""

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "streamrl_np"
# a module imports only from its own room and the rooms above it
ROOMS = [
    "settings",
    "extras",
    "processes",
    "files",
    "swapping",
    "arrays",
    "layers",
    "cells",
    "networks",
    "policies",
    "optimizers",
    "agents",
    "envs",
    "experiments",
    "gradcheck",
    "course",
    "cli",
    "__main__",
]


def modules():
    return [
        path
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py" or path.parent != PACKAGE
    ]


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    """List the rooms that a module imports from, wherever in the file it does."""
    package = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) - node.level + 1]
            where = [*above, *(node.module.split(".") if node.module else ())]
            yield from [where[0]] if where else [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("streamrl_np."):
            yield node.module.split(".")[1]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_rooms_above_it(path):
    here = room_of(path)
    for room in imported_rooms(path):
        assert ROOMS.index(room) <= ROOMS.index(here), f"{here} imports from {room}"


def cited(text):
    """Find the equation numbers that a text cites: (eq. R4), (eq. R9, R10), (eq. C1–C3)."""
    for citation in re.findall(r"\(eqs?\.? ([^)]*)\)", text):
        for first, last in re.findall(r"([A-Z]\d+)(?:\s*(?:–|-|to)\s*([A-Z]?\d+))?", citation):
            end = int(re.sub(r"\D", "", last or first))
            yield from (f"{first[0]}{i}" for i in range(int(first[1:]), end + 1))


def test_every_equation_exists_and_every_equation_is_used():
    numbered = re.findall(r"\\tag\{([A-Z]\d+)\}", (ROOT / "docs/derivations.md").read_text())
    assert len(numbered) == len(set(numbered)), "a number is given twice"
    readers = [*PACKAGE.rglob("*.py"), *(ROOT / "notebooks").rglob("*.md")]
    used = set().union(*(cited(path.read_text()) for path in readers))
    assert used - set(numbered) == set(), "cited, but not in docs/derivations.md"
    assert set(numbered) - used == set(), "in docs/derivations.md, but cited by nothing"


def test_departures_are_marked_in_the_code():
    cells = re.findall(r"departure from ([^|,;:]*)", (ROOT / "docs/details.md").read_text())
    rows = re.findall(r"\w+ \d{4}", "; ".join(cells))
    comments = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    marked = re.findall(r"differs from (\w+ \d{4})", comments)
    for source in set(rows) | set(marked):
        assert rows.count(source) <= marked.count(source), f"mark departures from {source}"
        assert source in rows, f"{source} is departed from, and docs/details.md has no row"


def test_links_between_pages_lead_somewhere():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "notebooks").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_result_on_the_site_has_its_command():
    commands = runpy.run_path(str(ROOT / "docs/commands.py"))["COMMANDS"]
    for directory in (ROOT / "docs/results").iterdir():
        assert directory.name in commands, f"say in docs/commands.py what makes {directory.name}"


def code_lines(path):
    """Count the lines that are neither blank, comment nor docstring."""
    tree = ast.parse(path.read_text())
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    documented = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    docs = [node.body[0] for node in documented if ast.get_docstring(node) is not None]
    skipped = {i for doc in docs for i in range(doc.lineno, doc.end_lineno + 1)}
    lines = enumerate(path.read_text().splitlines(), 1)
    return sum(1 for i, line in lines if i not in skipped and line.strip().strip("#"))


def test_the_core_can_be_read_in_an_evening():
    core = ["arrays", "layers", "cells/rtu", "networks", "policies", "optimizers"]
    core += ["agents/actor_critic", "experiments/loop"]
    lines = sum(code_lines(PACKAGE / f"{name}.py") for name in core)
    assert lines < 900, f"{lines} lines of code"


def test_nothing_is_left_open():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"TODO|FIXME|XXX|^\s*raise NotImplementedError", text, re.M), path


def test_the_readmes_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert "range(1000)" in example
    names = {}
    exec(example.replace("range(1000)", "range(3)"), names)
    assert names["agent"].updates[0] == 15
