"""How the site is built: `./run docs`. The pages of commands and the zoo are written first, by docs/extensions."""

import os
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

from command_pages import write_pages  # noqa: E402
from zoo_page import write_zoo  # noqa: E402

import stg  # noqa: E402

# torch-scatter and torch-geometric still decorate with torch.jit.script: nothing that a reader could act on.
OLD = "`torch.jit.script` is deprecated"
os.environ["PYTHONWARNINGS"] = f"ignore:{OLD}"
warnings.filterwarnings("ignore", message=OLD)

write_pages(HERE / "commands")
write_zoo(HERE)

project = "stg"
author = "The authors of stg-video"
release = version = stg.__version__
html_title = "stg"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "mathml",
    "public_names",
    "source_links",
]
exclude_patterns = ["_build", "gallery", "notebooks", "extensions", "llms.txt"]

# Markdown: `$...$` is math, `:::` opens a box, and every heading down to the third can be linked to.
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3

# `name` in a docstring is a name of Python: linked where the site has it, plain code elsewhere.
default_role = "py:obj"
autodoc_default_options = {"members": True, "show-inheritance": True, "no-value": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Shapes", "Input", "Output", "Departures"]
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"

# Commands are to be copied: two dashes stay two dashes.
smartquotes = False

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_domain_indices = False
html_extra_path = ["llms.txt"] if (HERE / "llms.txt").exists() else []
html_math_renderer = "mathml"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Each script is run when the site is built; a script that fails fails the build.
if list(HERE.glob("gallery/plot_*.py")):
    extensions.append("sphinx_gallery.gen_gallery")
    sphinx_gallery_conf = {
        "examples_dirs": "gallery",
        "gallery_dirs": "auto_gallery",
        "within_subsection_order": "FileNameSortKey",
        "filename_pattern": "/plot_",
        "abort_on_example_error": True,
        "parallel": True,
        "show_memory": False,
        "write_computation_times": False,
        "download_all_examples": False,
    }
