"""``./run``: finds its own folder wherever it is called from, and by whatever name (fault H14); goes on with
a set-up that was interrupted (F8, F9)."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

RUN = Path(__file__).parents[3] / "run"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the script and one command, and a stand-in for uv that prints where it is and what it was given."""
    folder = tmp_path / "the project"
    (folder / "stg").mkdir(parents=True)
    (folder / "stg" / "fit.py").touch()
    shutil.copy(RUN, folder / "run")
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text('#!/bin/sh\nprintf "%s|" "$PWD" "$@"\n')
    uv.chmod(0o755)
    return folder


def called(script: Path | str, project: Path, cwd: Path, **environment: str) -> list[str]:
    path = f"{project.parent / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", str(script), "fit", "a b"], cwd=cwd, env={"PATH": path, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("|")[:-1]


def expected(project: Path, cwd: Path) -> list[str]:
    return [str(cwd), "run", "--quiet", "--project", str(project), "python", "-m", "stg.fit", "a b"]


def test_cdpath_leads_nowhere_else(project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "the project").mkdir(parents=True)
    found = called("the project/run", project, tmp_path, CDPATH=str(tmp_path / "elsewhere"))
    assert found == expected(project, tmp_path)
    assert called("run", project, project, CDPATH=str(tmp_path)) == expected(project, project)


def test_links_lead_to_the_project(project: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "absolute").symlink_to(project / "run")
    (links / "relative").symlink_to("../the project/run")
    (links / "second").symlink_to("relative")
    (tmp_path / "folder").symlink_to(project)
    for name in ("links/absolute", "links/relative", "links/second", "folder/run"):
        assert called(tmp_path / name, project, tmp_path) == expected(project, tmp_path)
        assert called(name, project, tmp_path) == expected(project, tmp_path)
    assert called("second", project, links) == expected(project, links)


PYTHON = """#!/bin/sh
# A stand-in for python3: `python3 -m venv FOLDER` makes a pip, which makes a uv; each is killed at the moment named.
moment() { [ "${KILLED_AT:-}" = "$1" ] && kill -9 $$; return 0; }
mkdir -p "$3/bin"
moment folder
cat > "$3/bin/pip" <<'END'
#!/bin/sh
uv=$(dirname "$0")/uv
printf '#!/bin/sh\nprintf "%%s|" "$@"\n' > "$uv"
[ "${KILLED_AT:-}" = pip ] && kill -9 $$
chmod 755 "$uv"
END
moment venv
chmod 755 "$3/bin/pip"
"""


@pytest.mark.parametrize("moment", ["folder", "venv", "pip"])
def test_a_first_start_that_was_killed_goes_on(moment: str, project: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "mkdir", "cat", "chmod", "readlink", "sed"):
        (tools / name).symlink_to(str(shutil.which(name)))
    (tools / "python3").write_text(PYTHON)
    (tools / "python3").chmod(0o755)
    command = [str(tools / "sh"), str(project / "run"), "fit", "a"]

    def start(**environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, env={"PATH": str(tools), **environment}, capture_output=True, text=True)

    assert start(KILLED_AT=moment).returncode != 0
    done = start()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("|")[:-1] == ["run", "--quiet", "--project", str(project), "python", "-m", "stg.fit", "a"]


def test_torch_scatter_is_built_for_the_torch_that_it_runs_with() -> None:
    settings = tomllib.loads((RUN.parent / "pyproject.toml").read_text())["tool"]["uv"]
    needed = settings["extra-build-dependencies"]["torch-scatter"]
    assert {"requirement": "torch", "match-runtime": True} in needed


def test_all_tests_are_run_with_the_lowest_versions(project: Path, tmp_path: Path) -> None:
    (project / ".ci").mkdir()
    for name in (".ci/lowest", "pyproject.toml"):
        shutil.copy(RUN.parent / name, project / name)
    (project / ".ci" / "smoke").write_text("./run fit\n")
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    uv = tmp_path / "bin" / "uv"
    uv.write_text('#!/bin/sh\nprintf "%s " "$@"\necho\n')
    path = f"{uv.parent}:{os.environ['PATH']}"
    done = subprocess.run(["bash", str(project / ".ci" / "lowest")], env={"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    calls = [line.split() for line in done.stdout.splitlines() if line.startswith("run ")]
    assert [call[call.index("python") + 1 :][:2] for call in calls] == [
        ["-"],
        ["-m", "stg.fit"],
        ["-m", "pytest"],
    ]
    # Options alone: no file and no folder that would leave others out.
    assert calls[-1][-4:] == ["--numprocesses", "auto", "--dist", "loadfile"]


def test_the_lowest_versions_are_run_in_a_copy_without_the_pins(project: Path, tmp_path: Path) -> None:
    root = RUN.parent
    (project / ".ci").mkdir()
    for name in (".ci/lowest", "pyproject.toml", ".gitignore"):
        shutil.copy(root / name, project / name)
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    (project / ".lowest" / "stg").mkdir(parents=True)
    (project / ".lowest" / "stg" / "former.py").touch()
    (project / ".lowest" / ".venv").mkdir()
    uv = tmp_path / "bin" / "uv"
    uv.write_text('#!/bin/sh\nprintf "%s|" "$UV_RESOLUTION" "$@"\n')
    path = f"{uv.parent}:{os.environ['PATH']}"
    for _ in range(2):
        command = ["bash", str(project / ".ci" / "lowest"), "fit", "a b"]
        done = subprocess.run(command, env={"PATH": path}, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        copy = project / ".lowest"
        expected = ["lowest-direct", "run", "--quiet", "--project", str(copy), "python", "-m", "stg.fit", "a b"]
        assert done.stdout.split("|")[:-1] == expected
        assert sorted(item.name for item in copy.iterdir()) == [
            ".ci",
            ".gitignore",
            ".venv",
            "pyproject.toml",
            "run",
            "stg",
        ]
        assert [item.name for item in (copy / "stg").iterdir()] == ["fit.py"]
        there, here = (tomllib.loads((folder / "pyproject.toml").read_text()) for folder in (root, copy))
        there["tool"]["uv"].pop("constraint-dependencies", None)  # the copy has none itself
        assert here == there | {"project": there["project"] | {"requires-python": "==3.11.*"}}
