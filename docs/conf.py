"""The site: python -m sphinx -W docs docs/_build/html builds it."""

import importlib.metadata
import re
import runpy
import sys
from pathlib import Path

from docutils import nodes
from sphinx.util import logging

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

project = "streamrl_np"
author = copyright = "the streamrl_np authors"
try:
    release = importlib.metadata.version("streamrl_np")
except importlib.metadata.PackageNotFoundError:
    release = re.search(r'version = "(.*?)"', (HERE.parent / "pyproject.toml").read_text())[1]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["_build", "results/**.md"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the committed outputs are shown; the tests run the notebooks
nb_render_markdown_format = "myst"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True  # as written, not as they turn out on this machine
numpydoc_show_class_members = False

html_theme = "sphinx_book_theme"
html_title = "streamrl_np"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],
}

COMMANDS = runpy.run_path(str(HERE / "commands.py"))["COMMANDS"]
ROOMS = {
    "The core": ["arrays", "layers", "networks", "policies", "optimizers", "settings"],
    "Cells": ["cells", "cells.*"],
    "Agents": ["agents.*"],
    "Environments": ["envs.*"],
    "Experiments": ["experiments.*"],
    "Gradient checker": ["gradcheck.*"],
    "Course": ["course.*"],
}
NOT_PROSE = (
    *(nodes.literal, nodes.literal_block, nodes.math, nodes.math_block),
    *(nodes.reference, nodes.raw, nodes.title),
)
CITATION = r"\beqs?\. [A-Z]\d+(?:(?:, |–| to | and )[A-Z]\d+)*"
log = logging.getLogger(__name__)


def gather(app):
    """Bring in what lies outside docs/: the notebooks, a page of results, pages of modules."""
    pages = {HERE / "results.md": results_page(), **api_pages()}
    for notebook in (HERE.parent / "notebooks").glob("[0-9]*.ipynb"):
        pages[HERE / "notebooks" / notebook.name] = notebook.read_text(encoding="utf-8")
    for old in [*(HERE / "notebooks").glob("*"), *(HERE / "api").glob("*")]:
        if old not in pages:
            old.unlink()
    for path, text in pages.items():
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def results_page():
    """Write a section for each directory of results: its command, table and figures."""
    lines = [
        "# Results",
        "",
        "What has been run, by the command that ran it. Tables and figures are those that the",
        "command wrote; what is not here has not been run. The notebooks 6 to 8 explain them.",
    ]
    for directory in sorted(path for path in (HERE / "results").iterdir() if path.is_dir()):
        name = directory.name
        if name not in COMMANDS:
            log.warning("docs/results/%s: docs/commands.py does not know its command", name)
        lines += ["", f"## {name}", "", "```bash", *COMMANDS.get(name, ()), "```"]
        for table in sorted(directory.rglob("table.md")):
            lines += ["", table.read_text(encoding="utf-8")]
        for figure in sorted(directory.rglob("*.png")):
            path = figure.relative_to(HERE).as_posix()
            lines += ["", f"![{name}, {figure.stem}]({path})"]
    return "\n".join(lines) + "\n"


def api_pages():
    """Write a page for each room of the package, with its modules but the course's insides."""
    package, pages = HERE.parent / "streamrl_np", {}
    for title, patterns in ROOMS.items():
        modules = []
        for pattern in patterns:
            found = sorted(package.glob(pattern.replace(".", "/") + ".py")) or [package / pattern]
            for path in found:
                if path.stem != "__init__":
                    parts = path.relative_to(package).with_suffix("").parts
                    modules.append(".".join(["streamrl_np", *parts]))
        text = f"# {title}\n"
        for module in modules:
            text += f"\n## {module.removeprefix('streamrl_np.')}\n"
            text += f"\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```\n"
        pages[HERE / "api" / f"{title.lower().replace(' ', '-')}.md"] = text
    return pages


def at_home(app, docname, source):
    """Let links between notebooks and pages stay in the site, and list every page of docs/."""
    source[0] = source[0].replace("](../notebooks/", "](notebooks/").replace("](../docs/", "](../")
    if docname == "index":
        pages = (path.stem for path in sorted(HERE.glob("*.md")))
        others = [page for page in pages if page != docname and f"\n{page}\n" not in source[0]]
        source[0] = source[0].replace("\nreference\n", "\n" + "\n".join([*others, "reference\n"]))


def number_equations(app, doctree):
    """Give every numbered equation of the derivations an anchor of its number."""
    if app.env.docname != "derivations":
        return
    for block in doctree.findall(nodes.math_block):
        tag = re.search(r"\\tag\{([A-Z]\d+)\}", block.astext())
        if tag:
            block["ids"].append(f"eq-{tag[1]}")
            block["nowrap"] = True  # Sphinx's own wrapping does not allow for \tag
            text = rf"\[{block.astext()}\]"
            block.children = [nodes.Text(text)]
            known(app).add(tag[1])


def known(app):
    """The numbers of all equations; kept with the environment, as the pages are."""
    if not hasattr(app.env, "equation_numbers"):
        app.env.equation_numbers = set()
    return app.env.equation_numbers


def link_equations(app, doctree, docname):
    """Turn (eq. R4) in any text into a link to that equation."""
    if app.builder.format != "html":
        return
    target = app.builder.get_relative_uri(docname, "derivations")
    for text in list(doctree.findall(nodes.Text)):
        if isinstance(text.parent, NOT_PROSE):
            continue
        pieces, end, words = [], 0, text.astext()
        for citation in re.finditer(CITATION, words):
            for number in re.finditer(r"[A-Z]\d+", citation[0]):
                start = citation.start() + number.start()
                if number[0] not in known(app):
                    log.warning("%s cites equation %s, which does not exist", docname, number[0])
                pieces.append(nodes.Text(words[end:start]))
                link = nodes.reference("", number[0], internal=True)
                link["refuri"] = f"{target}#eq-{number[0]}"
                pieces.append(link)
                end = start + len(number[0])
        if pieces:
            text.parent.replace(text, [*pieces, nodes.Text(words[end:])])


def plain_bars(app, what, name, obj, options, lines):
    """Let |λ| in a docstring be |λ|, and an indented formula be one."""
    for i, line in enumerate(lines):
        pieces = line.split("``")
        pieces[::2] = [piece.replace("|", r"\|") for piece in pieces[::2]]
        lines[i] = "``".join(pieces)
    if what == "module":
        for i in reversed(range(1, len(lines))):
            begins = lines[i].startswith("    ") and not lines[i - 1].strip()
            before = [line for line in lines[:i] if line.strip()]
            if begins and before and not before[-1].startswith(" ") and ">>>" not in lines[i]:
                lines[i:i] = ["::", ""]


def setup(app):
    """Connect the functions above."""
    app.connect("builder-inited", gather)
    app.connect("source-read", at_home)
    app.connect("autodoc-process-docstring", plain_bars, priority=900)
    app.connect("doctree-read", number_equations)
    app.connect("doctree-resolved", link_equations)
