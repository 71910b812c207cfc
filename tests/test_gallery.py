"""The scripts of the gallery can be shown: the building of the site runs them, this looks at their form."""

import ast
import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
SCRIPTS = sorted(DOCS.glob("gallery/plot_*.py"))


def test_there_are_twelve_scripts_in_order() -> None:
    assert [path.name.split("_")[1] for path in SCRIPTS] == [f"{number:02d}" for number in range(1, 13)]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_has_a_title_prose_and_pictures_and_imports_no_private_name(path: Path) -> None:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    title, rule, *prose = (ast.get_docstring(tree) or "").splitlines()
    assert rule == "=" * len(title)
    assert " ".join(prose).strip().endswith(".")
    assert "plt.show()" in text
    assert text.count("\n# %%\n") >= 3
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    names = [(node.module or "", alias.name) for node in imported for alias in node.names]
    assert not [pair for pair in names if any(part.startswith("_") for part in (*pair[0].split("."), pair[1]))]
    # A room of the library exports what others may use: `stg.runs`, not `stg.runs.folder`.
    assert not [module for module, _ in names if module.split(".")[0] in ("stg", "graphs") and module.count(".") > 1]


def test_the_notebook_is_stored_without_outputs() -> None:
    notebook = json.loads((DOCS / "notebooks" / "try_it.ipynb").read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
