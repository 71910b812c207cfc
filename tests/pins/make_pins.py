"""Pin what the commands do: hashes of models, stores, captions, pages and help texts of a checkout, for a comparison.

    python tests/pins/make_pins.py OUT.json [--root CHECKOUT]      writes OUT.json, and the texts themselves to OUT.d/
    python tests/pins/make_pins.py --compare A.json B.json         lists what differs; ends with 1 if anything does

Only commands are run (``python -m stg.NAME``, and ``stg.load`` in a line of Python), so that modules may move. They run
in a folder of their own, in one thread, on a tiny built-in world. Most of them run in forks of one process that has
imported torch and PyG already, which spares the ten seconds that each would take to import them; ``--fresh`` starts an
interpreter for each instead. Nothing of the checkout is imported before the fork.

Hashes of floats hold for one version of torch and one vector unit of the processor: both are noted.
"""

import argparse
import difflib
import hashlib
import json
import os
import platform
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
COMMANDS = (
    "ablate", "caption", "compare", "embed", "evaluate", "extract", "fit",
    "fuse", "import_features", "predictions", "probe", "report", "store", "words",
)  # fmt: skip


def words(line: str) -> list[str]:
    """The words of a command line."""
    return line.split()


WORLD = words("--world.train 12 --world.val 4 --world.test 4 --data.store world --data.min_count 1")
SMALL = words("--model.channels 16 --model.heads 2 --model.hidden 16 --model.layers 1")
STEPS = words("--optim.batch_videos 4 --optim.captions_per_video 2 --optim.epoch_captions 8 --optim.lr 3e-3")
RUN = words("--run.samples 1 --run.threads 1 --run.save_minutes 1000")
FIT = [*WORLD, *SMALL, *STEPS, *RUN]
EPOCH = 12
"""Steps of an epoch: 12 videos with 8 captions each, in batches of 4 videos with 2 captions each."""
RUNS = {
    # name -> options beside those of all; each is trained for two epochs by one process
    "one": "",
    "stats": "--model.decoder stats --optim.scheduled_sampling 24 --model.stats.ts.anneal_from 1",
    "stats_lstm": "--model.decoder stats --model.branches scene --model.stats.st.temporal mean+lstm "
    "--model.stats.scene_streams [frames,regions] --model.stats.order st",
    "attention_lstm": "--model.decoder attention_lstm --graph.variant spatial --optim.algorithm rmsprop",
    "scene": "--model.branches scene --run.control shuffle --optim.length_buckets 2",
    "object": "--model.branches object --graph.variant temporal --graph.time_flow both --data.loading memory",
    "concat": "--model.branches concat --graph.variant dense --optim.clip_norm 1",
    "l2": "--model.branches l2 --loss.distill_weight 4 --loss.reduction batchmean",
}
REFUSED = {
    # what is refused, and how: the last line of the error, and the exit code
    "no_clip": "caption no/such.mp4 --model one",
    "no_model": "caption clip.mp4 --model no/such",
    "no_run": "evaluate no/such",
    "no_split": "evaluate one --split nothing --meteor false",
    "unknown_option": "fit --optim.learning_rate 1",
    "unknown_choice": "fit --model.decoder transfomer",
    "out_of_range": "fit --optim.lr -1",
    "unknown_preset": "fit --config pan_msvdd",
    "no_value": "evaluate",
    "other_settings": "fit --run.out one --model.channels 32",
    "no_store": "store info no/such",
    "no_table": "ablate nothing",
    "no_page": "report one --order best",
    "one_file": "predictions merge one --out x",
    "no_list": "import_features no/such.json --out x",
    "no_network": "extract clip.mp4 --out x --detector no/such.onnx --backbone no/such.onnx",
}
DRIVER = """
try:
    from stg.datasets.world.dataset import World
except ImportError:  # commit 8bbb68c and before
    from stg.datasets.world import World
world = World(train=12, val=4, test=4)
for video, name in (("test-00001", "clip.mp4"), ("test-00002", "clips/b.mp4"), ("val-00001", "clips/a.mp4")):
    world.write_mp4(video, name)
"""
LOAD = """
import json, stg
model = stg.load("one")
print(json.dumps([model.caption("clip.mp4"), stg.load("scene").caption("clip.mp4")]))
stg.show(stg.load("one", graph=True).describe("clip.mp4")).save("shown.html")
"""


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


@dataclass
class Pins:
    """What was found: name -> hash, and the texts of those that are text."""

    folder: Path
    hashes: dict[str, str] = field(default_factory=dict)

    def bytes(self, name: str, content: bytes) -> None:
        """Pin content as it is."""
        self.hashes[name] = hashlib.sha256(content).hexdigest()

    def text(self, name: str, content: str) -> None:
        """Pin a text, and keep it so that a difference can be looked at."""
        self.bytes(name, content.encode())
        path = self.folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def file(self, name: str, path: Path) -> None:
        """Pin a file that must be there."""
        self.bytes(name, path.read_bytes())


class Bench:
    """A folder in which the commands of a checkout run.

    Args:
        root: the checkout.
        folder: where they run.
        fresh: start an interpreter for every command.
    """

    def __init__(self, root: Path, folder: Path, fresh: bool) -> None:
        self.root, self.folder, self.fresh = root, folder, fresh
        self.count = 0
        self.environment = {
            **os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "COLUMNS": "100", "NO_COLOR": "1",
            "TERM": "dumb", "PYTHONWARNINGS": "ignore",
        }  # fmt: skip

    def start(self, line: list[str], *, fresh: bool = False) -> tuple[int, Callable[[], Done]]:
        """Start a command, ``["fit", ...]`` or ``["-c", code]``; returns its process id, and what waits for its end."""
        self.count += 1
        out, err = (self.folder.parent / f"{self.count}.{stream}" for stream in ("out", "err"))
        if fresh or self.fresh:
            start = ["-c"] if line[0] == "-c" else ["-m", f"stg.{line[0]}"]
            with open(out, "wb") as told, open(err, "wb") as errors:
                process = subprocess.Popen(
                    [sys.executable, *start, *line[1:]],
                    cwd=self.folder, env=self.environment, stdout=told, stderr=errors, stdin=subprocess.DEVNULL,
                )  # fmt: skip
            return process.pid, lambda: Done(process.wait(600), self.clean(out), self.clean(err))
        pid = os.fork()
        if not pid:
            self.become(line, out, err)

        def wait() -> Done:
            _, status = os.waitpid(pid, 0)
            return Done(os.waitstatus_to_exitcode(status), self.clean(out), self.clean(err))

        return pid, wait

    def become(self, line: list[str], out: Path, err: Path) -> NoReturn:
        """In a fork: run the command, and end."""
        code = 1
        try:
            for path, number in ((out, 1), (err, 2)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            os.chdir(self.folder)
            os.environ.clear()
            os.environ.update(self.environment)
            sys.path[:] = [str(self.folder), str(self.root), *sys.path[1:]]
            if line[0] == "-c":
                sys.argv = ["-c", *line[2:]]
                exec(compile(line[1], "<line>", "exec"), {"__name__": "__main__"})
            else:
                sys.argv = [f"stg.{line[0]}", *line[1:]]
                runpy.run_module(f"stg.{line[0]}", run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def run(self, command: str, *more: str, code: int = 0, fresh: bool = False) -> Done:
        """Run a command to its end, which must be as expected."""
        line = [*command.split(), *more]
        print(f"  {' '.join(line)[:110]}", flush=True)
        done = self.start(line, fresh=fresh)[1]()
        if done.code != code:
            raise RuntimeError(f"{' '.join(line)} ended with {done.code}, not {code}:\n{done.out}{done.err}")
        return done

    def python(self, code: str) -> Done:
        """Run a few lines of Python to their end."""
        done = self.start(["-c", code])[1]()
        if done.code:
            raise RuntimeError(f"ended with {done.code}:\n{done.out}{done.err}")
        return done

    def clean(self, path: Path) -> str:
        """What was printed, without places of this machine."""
        text = path.read_text()
        for place, name in ((self.folder, "FOLDER"), (self.root, "CHECKOUT"), (Path(sys.prefix), "PYTHON")):
            text = text.replace(str(place), name)
        return text


def store_content(path: Path) -> bytes:
    """Keys and values of an LMDB file in the order of the keys: the file itself depends on how it grew."""
    import lmdb

    with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as opened, opened.begin() as transaction:
        parts = [part for pair in transaction.cursor() for part in pair]
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def without_origin(page: str) -> str:
    """A text without what depends on the day, the commit and the machine."""
    page = re.sub(r"(, )?commit [0-9a-f]{7,40}(\+changes)?", "", page)
    page = re.sub(r"\b[0-9a-f]{40}(\+changes)?(?![0-9a-f])", "COMMIT", page)
    page = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\S*)", "TIME", page)
    page = re.sub(r"\b\d{4}-\d\d-\d\d\b", "DAY", page)
    page = re.sub(r"Trained at .*? Reported at [^.]*\.", "Trained and reported SOMEWHERE.", page)
    page = re.sub(r'"(cpu|cores)": "[^"]*"', r'"\1": "SOME"', page)
    return re.sub(r"stg-video \d+\.\d+\.\d+\S*", "stg-video VERSION", page)


def without_times(text: str) -> str:
    """A printed line, table or JSON without minutes and seconds."""
    text = re.sub(r'"(minutes|seconds|wall_s|train_minutes)": ([0-9.e-]+|\{[^}]*\})', r'"\1": 0', text)
    text = re.sub(r"\(\d+ clips a minute\)", "(TIME)", text)
    text = re.sub(r"\| \d+\.\d+M \| \d+\.\d \|$", "| WEIGHTS | TIME |", text, flags=re.MULTILINE)
    return re.sub(r"\b\d+(\.\d+)? (s|min|minutes|seconds)\b", r"TIME \2", text)


def pin_folder(pins: Pins, name: str, folder: Path, *patterns: str) -> None:
    """Pin the JSON files of a folder, as text."""
    for path in sorted(item for pattern in patterns for item in folder.glob(pattern)):
        pins.text(f"{name}/{path.name}", without_origin(without_times(path.read_text())))


def pin_run(pins: Pins, name: str, folder: Path) -> None:
    """Pin models, every logged number and the settings of a run."""
    for path in sorted(folder.glob("*.safetensors")):
        pins.file(f"{name}/{path.name}", path)
    pins.text(f"{name}/metrics.jsonl", (folder / "metrics.jsonl").read_text())
    for file in ("config.yaml", "state.json"):
        pins.text(f"{name}/{file}", (folder / file).read_text())


def pin_texts(bench: Bench, pins: Pins) -> None:
    """Help, presets and default options of every command, each in an interpreter of its own."""
    needed = {
        "ablate": "", "caption": "x.mp4 --model x", "compare": "x y", "embed": "", "evaluate": "x",
        "extract": "x.mp4 --out x", "fit": "", "fuse": "x y --out z --embedding e", "import_features": "x --out y",
        "predictions": "compare x y", "probe": "", "report": "x", "store": "info x", "words": "x",
    }  # fmt: skip
    for name in COMMANDS:
        pins.text(f"help/{name}", bench.run(name, "--help", fresh=True).out)
        pins.text(f"config_help/{name}", bench.run(name, "--config", "help", fresh=True).out)
        pins.text(f"print_config/{name}", bench.run(name, *needed[name].split(), "--print_config", fresh=True).out)


def pin_training(bench: Bench, pins: Pins) -> None:
    """Models after two epochs: by one process, by two, resumed in mid-epoch, on rewards."""
    for name, options in RUNS.items():
        done = bench.run("fit", *FIT, "--optim.epochs", "2", "--run.out", name, *options.split())
        pin_run(pins, f"fit/{name}", bench.folder / name)
        if name == "one":
            pins.text("fit/one/printed", done.out)
    pins.bytes("store/world", store_content(bench.folder / "world"))

    out = bench.folder / "resumed"
    line = ["fit", *FIT, "--optim.epochs", "2", "--run.out", "resumed"]
    for attempt in range(8):
        shutil.rmtree(out, ignore_errors=True)
        if interrupted(bench, line, out / "metrics.jsonl", 2 + attempt % 4):
            break
    else:
        raise RuntimeError("no run could be interrupted in the middle of an epoch")
    bench.run(" ".join(line))
    pin_run(pins, "fit/resumed", out)
    for file in ("model.safetensors", "whole.safetensors", "metrics.jsonl"):
        if pins.hashes[f"fit/resumed/{file}"] != pins.hashes[f"fit/one/{file}"]:
            raise RuntimeError(f"{file} of the resumed run is not that of the unbroken one")

    rewards = "--run.start one --reward.weight .5 --reward.from_epoch 0 --reward.samples 2 --optim.epochs 1"
    bench.run("fit", *FIT, *rewards.split(), "--run.out", "rewards")
    pin_run(pins, "fit/rewards", bench.folder / "rewards")
    rewards = "--run.start stats --reward.weight 1 --reward.from_epoch 0 --reward.bleu4 1 --optim.epochs 1"
    bench.run("fit", *FIT, *RUNS["stats"].split(), *rewards.split(), "--run.out", "rewards_stats")
    pin_run(pins, "fit/rewards_stats", bench.folder / "rewards_stats")

    command = "-m torch.distributed.run --standalone --nproc-per-node 2 -m stg.fit --optim.epochs 2 --run.out two"
    print(f"  {command}", flush=True)
    ended = subprocess.run(
        [sys.executable, *command.split(), *FIT],
        cwd=bench.folder, env=bench.environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if ended.returncode:
        raise RuntimeError(f"two processes ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    pin_run(pins, "fit/two", bench.folder / "two")


def interrupted(bench: Bench, line: list[str], metrics: Path, steps: int) -> bool:
    """Stop a run after some steps; returns whether it ended in the middle of an epoch, with a checkpoint."""
    print(f"  {' '.join(line)[:80]} ... and SIGTERM", flush=True)
    pid, wait = bench.start(line)
    end = time.monotonic() + 300
    while time.monotonic() < end and not (metrics.exists() and metrics.read_bytes().count(b"\n") >= steps):
        time.sleep(0.001)
    os.kill(pid, signal.SIGTERM)
    done = wait()
    stopped = re.search(r"stopped at step (\d+)", done.err)
    return done.code == 75 and stopped is not None and int(stopped[1]) % EPOCH != 0


def pin_results(bench: Bench, pins: Pins) -> None:
    """What evaluates, compares and shows trained runs."""
    searches = {
        "one": "--beam 2 --show 2",
        "resumed": "--search.method diverse --search.groups 2 --search.beam 4 --search.n_best 2",
        "stats": "--beam 2", "stats_lstm": "--beam 1", "attention_lstm": "--beam 2", "scene": "--beam 2",
        "object": "--beam 1", "concat": "--beam 2", "rewards": "--beam 2",
    }  # fmt: skip
    for name, options in searches.items():
        done = bench.run("evaluate", name, "--split", "test", "--meteor", "false", *options.split())
        pins.text(f"evaluate/{name}/printed", done.out)
        pin_folder(pins, f"evaluate/{name}", bench.folder / name / "evaluation", "*.json")
    pins.text("compare", bench.run("compare one stats l2 --samples 50 --meteor false --json", code=2).err)
    done = bench.run("compare one stats rewards --split test --samples 50 --meteor false --json")
    pins.text("compare/json", done.out)
    done = bench.run("compare one stats rewards --split test --samples 50 --meteor false --show 2")
    pins.text("compare/printed", done.out)
    files = ["one/evaluation/test-greedy.json", "stats/evaluation/test-beam2.json"]
    pins.text("words/json", bench.run("words --tagger lexicon --json", *files).out)
    pins.text("words/printed", bench.run("words --tagger lexicon", *files).out)
    pins.text("predictions/compare", bench.run("predictions compare --run one", *files).out)
    pins.text("predictions/merge", bench.run("predictions merge --out merged.json --form vatex", *files).out)
    pins.file("predictions/merged.json", bench.folder / "merged.json")

    small = words("--model.channels 16 --model.words 16 --model.hidden 16 --optim.batch_videos 8 --threads 1")
    for kind in ("mean", "mean+graph"):
        name = f"embed-{kind.replace('+', '-')}"
        done = bench.run("embed", *WORLD, *small, "--optim.epochs", "2", "--out", name, "--model.video", kind)
        pins.text(f"embed/{kind}/printed", without_times(done.out))
        for path in sorted((bench.folder / name).glob("*.safetensors")):
            pins.file(f"embed/{kind}/{path.name}", path)
        bench.run(f"embed --out {name} --evaluate test")
        pin_folder(pins, f"embed/{kind}", bench.folder / name, "*-recalls.json", "*.jsonl")
    done = bench.run("fuse one rewards --embedding embed-mean --split test --candidates 2 --meteor false --out f.json")
    pins.text("fuse/rerank/printed", done.out)
    done = bench.run("fuse one attention_lstm --method ensemble --split test --meteor false --out g.json")
    pins.text("fuse/ensemble/printed", done.out)
    pin_folder(pins, "fuse", bench.folder, "f*.json", "g*.json")

    cells = "--variants none,full --seeds 0 --beam 1 --optim.epochs 1 --out ablation"
    bench.run("ablate", *WORLD, *SMALL, *STEPS, "--run.threads", "1", *cells.split())
    pin_folder(pins, "ablate", bench.folder / "ablation", "table.md", "table.json")
    dry = bench.run("ablate pan3 --dry_run", *WORLD, *SMALL).out
    pins.text("ablate/dry_run", dry)
    probe = "--rows scene,full,none-shuffled --seeds 0 --epochs 1 --channels 16 --layers 1 --threads 1 --out probe"
    bench.run("probe", *probe.split(), *WORLD[:6], "--store", "world")
    pin_folder(pins, "probe", bench.folder / "probe", "results.jsonl", "table.md")


def pin_clips(bench: Bench, pins: Pins) -> None:
    """What captions, shows and extracts clips, and what keeps stores."""
    (bench.folder / "clips").mkdir()
    bench.python(DRIVER)
    pins.file("world/clip.mp4", bench.folder / "clip.mp4")
    for name in ("one", "stats", "scene", "attention_lstm"):
        done = bench.run(f"caption clip.mp4 clips --model {name} --json --n_best 2 --beam 3 --threads 1")
        pins.text(f"caption/{name}", without_times(done.out))
    done = bench.run("caption clip.mp4 --model one --threads 1 --report clip.html --overlay overlay.mp4")
    pins.text("caption/printed", without_times(done.out))
    pins.text("caption/clip.html", without_origin(without_times((bench.folder / "clip.html").read_text())))
    pins.file("caption/overlay.mp4", bench.folder / "overlay.mp4")
    pins.text("load", bench.python(LOAD).out)
    pins.text("shown.html", without_origin(without_times((bench.folder / "shown.html").read_text())))

    pages = {"one": "--limit 3 --beside concat --order best", "stats": "--limit 2", "attention_lstm": "--limit 2"}
    for name, options in pages.items():
        bench.run(f"report {name} --split test --threads 1 --out {name}-videos.html {options}")
        page = (bench.folder / f"{name}-videos.html").read_text()
        pins.text(f"report/{name}/videos.html", without_origin(without_times(page)))
    bench.run("report one --split test --limit 1 --explainer 3 --threads 1 --out explained.html")
    page = (bench.folder / "explained.html").read_text()
    pins.text("report/explained.html", without_origin(without_times(page)))
    bench.run("report one --ablations ablation,probe --out run.html")
    pins.text("report/one/run.html", without_origin(without_times((bench.folder / "run.html").read_text())))

    networks(bench.folder)
    extract = "--detector detector.onnx --backbone backbone.onnx --num_frames 4 --threads 1 --threshold 0.1"
    done = bench.run(f"extract clips --out extracted {extract}")
    pins.text("extract/printed", without_times(done.out))
    pins.bytes("extract/store", store_content(bench.folder / "extracted"))
    done = bench.run(f"extract clips --out extracted-linspace {extract} --sampling linspace --max_objects 2")
    pins.bytes("extract/store-linspace", store_content(bench.folder / "extracted-linspace"))
    bench.run(f"extract clip.mp4 --out extracted-clip {extract}")
    imported = bench.folder / "imported"
    arrays(imported)
    done = bench.run("import_features imported/features.json --out imported.store")
    pins.text("import_features/printed", without_times(done.out))
    pins.bytes("import_features/store", store_content(bench.folder / "imported.store"))

    pins.text("store/info", bench.run("store info world extracted imported.store").out)
    pins.text("store/verify", bench.run("store verify world extracted").out)
    pins.text("store/merge", bench.run("store merge extracted extracted-clip --out merged").out)
    pins.bytes("store/merged", store_content(bench.folder / "merged"))
    done = bench.run("store edges world --out edges --tau_time 0.1 --top_k 2")
    pins.text("store/edges/printed", without_times(done.out))
    pins.bytes("store/edges", store_content(bench.folder / "edges"))


def networks(folder: Path) -> None:
    """The tiny networks with which the tests extract."""
    sys.path.insert(0, str(next(HERE.parent.rglob("make_networks.py")).parent))
    import make_networks

    make_networks.write_detector(folder / "detector.onnx")
    make_networks.write_backbone(folder / "backbone.onnx")


def arrays(folder: Path) -> None:
    """Features of frames and of motion for two videos, with their description."""
    import numpy as np

    random = np.random.default_rng(0)
    for kind, width in (("scene", 5), ("motion", 3)):
        (folder / kind).mkdir(parents=True)
        for video in ("a", "b"):
            np.save(folder / kind / f"{video}.npy", random.standard_normal((6, width)).astype(np.float32))
    described = {"name": "made", "version": "1", "num_frames": 4, "scene": {"source": "scene", "width": 5}}
    described |= {"motion": {"source": "motion", "width": 3, "span": 16}}
    (folder / "features.json").write_text(json.dumps(described))


def pin_refusals(bench: Bench, pins: Pins) -> None:
    """Wrong options, missing files: exit code and last line of the error."""
    for name, command in REFUSED.items():
        done = bench.start(command.split())[1]()
        last = (done.err.strip() or "nothing said").splitlines()[-1]
        pins.text(f"refused/{name}", f"{done.code}: {last}\n")


def about() -> dict[str, str]:
    """What hashes of floats depend on."""
    import torch

    listing = Path("/proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", listing.read_text(), re.MULTILINE) if listing.exists() else None
    telling = ("avx", "fma", "amx", "sse4", "f16c", "bf16")
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vector_unit": torch.backends.cpu.get_cpu_capability(),
        "cpu_flags": " ".join(sorted(flag for flag in (flags[1].split() if flags else ()) if flag.startswith(telling))),
    }


def commit(root: Path) -> str:
    """The commit of the checkout, with "+changes" where files differ from it."""
    commands = (["rev-parse", "--short=7", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    name, changed = (
        subprocess.run(["git", "-C", str(root), *line], capture_output=True, text=True, check=False).stdout.strip()
        for line in commands
    )
    return f"{name or 'unknown'}{'+changes' if changed else ''}"


def make(out: Path, root: Path, fresh: bool, keep: Path | None) -> dict[str, Any]:
    """Run everything; write hashes and texts."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = import_module("torch")
        for name in ("torch_geometric.data", "torch_geometric.nn", "torch_scatter"):
            import_module(name)
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
    assert torch.get_num_threads() == 1
    assert "stg" not in sys.modules
    texts = out.with_suffix(".d")
    shutil.rmtree(texts, ignore_errors=True)
    pins = Pins(texts)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve() / "work"
        folder.mkdir()
        bench = Bench(root, folder, fresh)
        for part in (pin_texts, pin_training, pin_results, pin_clips, pin_refusals):
            print(f"{part.__name__} ({time.monotonic() - start:.0f} s)", flush=True)
            try:
                part(bench, pins)
            finally:
                if keep:
                    shutil.copytree(temporary, keep, dirs_exist_ok=True)
    made = {"commit": commit(root), **about(), "pins": dict(sorted(pins.hashes.items()))}
    out.write_text(json.dumps(made, indent=1) + "\n")
    print(f"{len(pins.hashes)} pins in {out}, texts in {texts} ({time.monotonic() - start:.0f} s)")
    return made


def compare(first: Path, second: Path) -> int:
    """Print what differs between two files of pins, with the texts where both have them; returns how many do."""
    old, new = (json.loads(path.read_text()) for path in (first, second))
    for key in ("python", "torch", "vector_unit", "cpu_flags"):
        if old[key] != new[key]:
            print(f"{key} differs, so hashes of floats may too:\n  {old[key]}\n  {new[key]}")
    names = sorted({name for pins in (old["pins"], new["pins"]) for name in pins})
    differing = [name for name in names if old["pins"].get(name) != new["pins"].get(name)]
    for name in differing:
        print(f"{name}: {described(name, old['pins'], new['pins'])}")
        before, after = (path.with_suffix(".d") / f"{name}.txt" for path in (first, second))
        if before.exists() and after.exists():
            texts = [path.read_text().splitlines() for path in (before, after)]
            lines = difflib.unified_diff(texts[0], texts[1], lineterm="", n=0)
            print("\n".join(f"    {line[:160]}" for line in list(lines)[2:22]))
    print(f"{len(differing)} of {len(names)} pins differ: {old['commit']} and {new['commit']}")
    return len(differing)


def described(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """How a pin differs."""
    if name not in old or name not in new:
        return "only in the second" if name in new else "only in the first"
    return f"{old[name][:12]} became {new[name][:12]}"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", help="the file of pins to write")
    parser.add_argument("--root", type=Path, default=HERE.parents[1], help="the checkout (default: this one)")
    parser.add_argument("--fresh", action="store_true", help="an interpreter for every command: ten times slower")
    parser.add_argument("--keep", type=Path, help="copy the folder in which the commands ran to this place")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help="two files of pins")
    options = parser.parse_args()
    if options.compare:
        return 1 if compare(*options.compare) else 0
    if options.out is None:
        parser.error("give the file to write, or --compare A B")
    make(options.out.resolve(), options.root.resolve(), options.fresh, options.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
