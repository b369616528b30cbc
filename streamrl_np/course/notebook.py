"""Notebooks as files: read a submission, and make a release out of a source.

The sources are notebooks in nbgrader's format: cells whose metadata say ``solution`` or
``grade``, and markers around solutions and hidden tests. What is done here to release them is
what nbgrader's generate_assignment does, so that either tool will do.
"""

import ast
import json
import re

MOST_BYTES = 50_000_000  # figures among the outputs take room
MOST_CELL = 50_000  # characters
STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
TEXT_STUB = "YOUR ANSWER HERE"
SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION.*?### END SOLUTION[^\n]*", re.S | re.M)
HIDDEN = re.compile(r"^[ \t]*### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS[^\n]*\n?", re.S | re.M)
EXPLORE = "explore"  # tag of cells that a grader need not run


class NotebookError(ValueError):
    """A file cannot be read as a submission; the message is a line for the student."""


def read_submission(path):
    """Read the code cells that a grader runs.

    Parameters
    ----------
    path : pathlib.Path
        A notebook, or a Python file, which counts as one cell or as many as it has ``# %%``.

    Returns
    -------
    list of (int, str)
        Number of the cell, counted from 1 over all cells, and its source.

    Raises
    ------
    NotebookError
    """
    if path.is_symlink():
        raise NotebookError("the file is a link to another file; hand in the file itself")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise NotebookError(
            f"the file has {size / 1e6:.0f} MB, at most {MOST_BYTES / 1e6:.0f} are read;"
            " clear the outputs of the notebook and save it again"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise NotebookError(f"the file is not text in UTF-8 ({type(error).__name__})") from None
    if not text.strip():
        raise NotebookError("the file is empty: was the notebook saved?")
    cells = python_cells(text) if is_python(path) else notebook_cells(text)
    if not cells:
        raise NotebookError("there is no code in it")
    large = [number for number, source in cells if len(source) > MOST_CELL]
    if large:
        raise NotebookError(f"cell {large[0]} has more than {MOST_CELL} characters")
    return cells


def is_python(path):
    """Whether a file is Python, by its name, and not a notebook."""
    return path.suffix.lower() == ".py"


def python_cells(text):
    """Split a Python file at its ``# %%`` lines; blank lines keep the numbers of lines right."""
    cells, start = [], 0
    lines = text.replace("\r\n", "\n").split("\n")  # splitlines() would split at form feeds too
    marks = [i for i, line in enumerate(lines) if line.startswith("# %%")] + [len(lines)]
    for end in marks:
        source = "\n".join(lines[start:end])
        if source.strip() and not lines[start].startswith("# %% [markdown]"):
            cells.append((len(cells) + 1, plain_python("\n" * start + source)))
        start = end
    return cells


def origin(path):
    """Read which assignment and variant a notebook says that it was released as.

    Returns
    -------
    tuple of str or None, int or None
        None for what it does not say.
    """
    if is_python(path):
        return None, None
    notes = parse(path.read_text(encoding="utf-8-sig")).get("metadata")
    notes = notes.get("streamrl_np") if isinstance(notes, dict) else None
    notes = notes if isinstance(notes, dict) else {}
    name, variant = notes.get("assignment"), notes.get("variant")
    return (
        name if isinstance(name, str) else None,
        variant if isinstance(variant, int) and not isinstance(variant, bool) else None,
    )


def foreign(path, assignment, variant):
    """Say in a line that a notebook is of another assignment or variant; nothing if it is not."""
    name, own = origin(path)
    if name is not None and name != assignment.name:
        return [f"this notebook is of assignment {name[:9]}, not of {assignment.name}"]
    if name is not None and own != variant:
        of = "the plain release" if own is None else f"variant {own}"
        wanted = "the plain release" if variant is None else f"variant {variant}"
        return [f"this notebook is of {of}; judged by {wanted}"]
    return []


def notebook_cells(text):
    """List the code cells of a notebook that are neither tests nor only to explore."""
    cells = []
    for number, cell in enumerate(parse(text)["cells"], 1):
        notes = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
        role = notes.get("nbgrader") if isinstance(notes.get("nbgrader"), dict) else {}
        test = role.get("grade") and not role.get("solution")
        tags = notes.get("tags") if isinstance(notes.get("tags"), list) else ()
        if cell.get("cell_type") == "code" and not test and EXPLORE not in tags:
            cells.append((number, plain_python(source_of(cell))))
    return cells


def parse(text):
    """Parse a notebook, or raise NotebookError."""
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError):
        raise NotebookError("the file is not a notebook: its JSON is broken") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise NotebookError("the file is not a notebook of format 4: it has no list of cells")
    return notebook


def source_of(cell):
    """Join a cell's source, which may be a list of lines."""
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    return source if isinstance(source, str) else ""


NOTEBOOK_ONLY = re.compile(
    r"^([ \t]*)(?:[%!?].*|[\w.]+\?{1,2}[ \t]*|[\w., ]+=[ \t]*[%!].*)$", re.MULTILINE
)


def plain_python(source):
    """Take out what only a notebook understands: %magic, !command, name?, x = !command."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return NOTEBOOK_ONLY.sub(r"\1pass", source)
    return source


def release(notebook, assignment, variant):
    """Make the students' version of a source, in place: no solution, hidden test or output."""
    instructor(notebook, assignment, variant)
    for cell in notebook["cells"]:
        role = cell["metadata"].get("nbgrader", {})
        source = source_of(cell)
        if role.get("solution"):
            source = blank(source, cell["cell_type"])
        source = HIDDEN.sub("", source)
        put_source(cell, source)
    return notebook


def instructor(notebook, assignment, variant):
    """Make the instructor's version of a source, in place: the variant's numbers, no output."""
    texts = assignment.texts(variant)
    for cell in notebook["cells"]:
        source = source_of(cell)
        if variant is not None:
            source = substitute(source, assignment, texts, assignment.moved(variant))
            source = CHECK_CALL.sub(rf"\1, variant={variant})", source)
        put_source(cell, source)
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    notes = notebook["metadata"]
    notes["streamrl_np"] = {"assignment": assignment.name}
    if variant is not None:
        notes["streamrl_np"]["variant"] = variant
    return notebook


CHECK_CALL = re.compile(r"(course\.check\([^()\n]*)\)")


def substitute(source, assignment, texts, moved):
    """Put the variant's numbers and letters in the place of the default's, all at once."""
    swaps = {text: texts[name] for name, (text, _) in assignment.constants.items()}
    for frame in "| {} |", '"{}"':  # of a letter in a table, and in code
        swaps |= {frame.format(old): frame.format(new) for old, new in moved.items()}
    if not swaps:
        return source
    any_of = "|".join(re.escape(text) for text in sorted(swaps, key=len, reverse=True))
    pattern = rf"(?<![\w.])(?:{any_of})(?![\w.]*\w)"
    return re.sub(pattern, lambda match: swaps[match.group()], source)


def blank(source, kind):
    """Put a stub in the place of each solution, or of the whole cell if none is marked."""
    if kind == "markdown":
        return TEXT_STUB
    if not SOLUTION.search(source):
        return STUB

    def stub(match):
        return "\n".join(match.group(1) + line for line in STUB.splitlines())

    return SOLUTION.sub(stub, source)


def put_source(cell, source):
    """Write a cell's source, as the lines that notebooks keep."""
    cell["source"] = source.rstrip("\n").splitlines(keepends=True)


def write(path, notebook):
    """Write a notebook to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
