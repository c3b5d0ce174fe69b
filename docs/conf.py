"""The documentation: ``tox run -e docs`` builds it; nothing is fetched from the network."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
import sys
import typing
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config, GoogleDocstring

# autodoc shows the types as type checkers see them.
sys.modules["openssl_tickets._typing"] = typing

project = "openssl_tickets"
author = "the authors of openssl_tickets"
release = version = importlib.metadata.version("openssl_tickets")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_show_copyright = False
html_theme_options: dict[str, Any] = {
    "top_of_page_buttons": [],
    "light_css_variables": {"font-stack--monospace": "ui-monospace, Menlo, Consolas, monospace"},
}
# The default dark style underlines module names, so that they look like links.
pygments_dark_style = "github-dark"
html_static_path = ["_static"]
html_css_files = ["phone.css"]
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True

# If the variable is set, the pages link to the repository and to their sources there.
if repository := os.environ.get("OPENSSL_TICKETS_REPOSITORY", "").rstrip("/"):
    html_theme_options |= {
        "source_view_link": f"{repository}/blob/main/docs/{{filename}}",
        "source_edit_link": f"{repository}/edit/main/docs/{{filename}}",
        "top_of_page_buttons": ["view", "edit"],
        "footer_icons": [{"name": "Source", "url": repository, "html": "Source", "class": ""}],
    }

# Headings are link targets, down to the third level; a link to one that is not there is a warning.
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

nitpicky = True
# What is not ours is not here to be linked to.
nitpick_ignore_regex = [
    (r"py:.*", r"(ssl|socket|sqlite3|os|collections|redis|OpenSSL)\..*|(Generate|Decrypt)Callback"),
    # The protocols of the arguments, which reference/library.md explains, and type variables.
    (r"py:class", r"openssl_tickets\._adapters\.types\.\w+|(openssl_tickets\..*\.)?[A-Z]"),
]


class Docstring(GoogleDocstring):
    """Google's sections, but "Returns" is a text: the types are in the signature."""

    def _consume_returns_section(
        self, preprocess_types: bool = False
    ) -> list[tuple[str, str, list[str]]]:
        lines = self._dedent(self._consume_to_next_section())
        return [("", "", lines)] if lines else []


def read_sections(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    # Not as the extension sphinx.ext.napoleon: what stands ahead of a colon in the first line of an
    # attribute's docstring it takes for its type, and it looks at none of its sections.
    if what in ("attribute", "data", "property"):
        what = "method"
    lines[:] = Docstring(lines, Config(), app, what, name, obj).lines()


def find_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> Any:
    """A docstring may name what its module has imported, ``TicketKeys``, without the package."""
    if node.get("refdomain") != "py" or node["reftarget"].startswith("openssl_tickets."):
        return None
    target = f"openssl_tickets.{node['reftarget']}"
    return env.domains["py"].resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], target, node, contnode
    )


_PRIVATE = re.compile(r"openssl_tickets(?:\.\w+)*\._[\w.]*\.(\w+)")


def show_public_names(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Classes are defined in modules of ours: readers see the names that they import."""
    for node in list(doctree.findall(nodes.reference)):
        if _PRIVATE.fullmatch(node.get("reftitle", "")):
            node["reftitle"] = node.get("refid") or node["refuri"].partition("#")[2]
    for text in list(doctree.findall(nodes.Text)):
        if _PRIVATE.search(text):
            text.parent.replace(text, nodes.Text(_PRIVATE.sub(r"\1", text)))


def label_cells(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """A phone shows the rows of a table of three columns and more as cards, with these labels."""
    for table in doctree.findall(nodes.table):
        heads, *rows = ([*row.findall(nodes.entry)] for row in table.findall(nodes.row))
        if len(heads) < 3:
            continue
        table["classes"].append("cards")
        for row in rows:
            for head, entry in zip(heads[1:], row[1:], strict=True):
                if head.astext() and entry.children:
                    label = nodes.inline(text=f"{head.astext()}: ", classes=["label"])
                    entry.children[0].insert(0, label)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", read_sections)
    app.connect("missing-reference", find_public_name)
    app.connect("doctree-resolved", show_public_names)
    app.connect("doctree-resolved", label_cells)
    # Pages that commands write may not be there.
    logging.getLogger("sphinx.sphinx.directives.other").addFilter(
        lambda record: getattr(record, "subtype", None) != "empty_glob"
    )
