"""Configuration of the documentation."""

import steppe

project = "steppe"
author = "The steppe developers"
release = version = steppe.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_enable_extensions = ["dollarmath", "colon_fence"]
exclude_patterns = ["_build"]

html_theme = "pydata_sphinx_theme"
html_title = "steppe"

autosummary_generate = True
numpydoc_show_class_members = False
intersphinx_mapping = {}

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": "/plot_",
    "download_all_examples": False,
}
