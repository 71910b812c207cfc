"""A Python that starts at once: a server imports torch, PyTorch Geometric and the commands, and forks for each command.

``with interpreter() as python: subprocess.run([*python, "-m", "stg.fit", ...])`` runs the command in a process of its
own, with its arguments, folder, environment, files and signals. The process that the caller starts is a stub: it gives
its own files to the server's child, passes SIGTERM and SIGINT on, and ends as the child does.
"""

import atexit
import fcntl
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
IMPORTED = ("torch", "torch_geometric.nn", "torch_geometric.loader", "av", "lmdb", "rich.progress")
USER = b"user"
"""What a process sends that keeps the server; any other that connects asks for a command, in JSON."""


@contextmanager
def interpreter(folder: Path) -> Iterator[list[str]]:
    """What stands in a command line for ``sys.executable``; all who name the same folder share one server."""
    # The path of a socket may have a hundred characters, which that of the folder leaves no room for.
    path = Path(tempfile.gettempdir(), f"forks-{sha256(os.fsencode(folder)).hexdigest()[:16]}")
    with open(folder / "forks.lock", "w") as lock, socket.socket(socket.AF_UNIX) as user:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            user.connect(str(path))
        except OSError:
            begin_server(path)
            user.connect(str(path))
        user.sendall(USER)
        fcntl.flock(lock, fcntl.LOCK_UN)
        yield [sys.executable, "-I", "-S", __file__, "start", str(path)]


def begin_server(path: Path) -> None:
    """Start the server, which lives as long as its users are connected."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        command = [sys.executable, __file__, "serve", str(listener.fileno()), str(path)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        server = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )  # fmt: skip
    server.returncode = 0  # nobody waits for it


def serve(listener: socket.socket, path: str) -> list[str]:
    """Fork for each caller, until the tests end; a child returns from here with its arguments."""
    sys.path.insert(1, str(ROOT))
    commands = sorted(f"stg.commands.{path.stem}" for path in (ROOT / "stg" / "commands").glob("[a-z]*.py"))
    for name in (*IMPORTED, *commands):
        import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    users: list[socket.socket] = []
    while True:
        ready, _, _ = select.select([listener, *users], [], [])
        for gone in set(ready) - {listener}:
            gone.close()
            users.remove(gone)
        if listener in ready:
            caller, _ = listener.accept()
            if caller.recv(len(USER), socket.MSG_PEEK) == USER:
                caller.recv(len(USER))
                users.append(caller)
                continue
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                for user in users:
                    user.close()
                return keep(caller)
            caller.close()
        if not users:
            os.unlink(path)
            os._exit(0)


def keep(caller: socket.socket) -> list[str]:
    """Fork the child, which returns from here, and tell the caller how it ended."""
    message, files, _, _ = socket.recv_fds(caller, 2**20, 3)
    while not message.endswith(b"\n"):
        message += caller.recv(2**20)
    asked = json.loads(message)
    child = os.fork()
    if not child:
        caller.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
        sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return asked["argv"]
    for file in files:
        os.close(file)
    caller.sendall(b"%d\n" % child)

    def end_with_the_caller() -> None:
        if not caller.recv(1):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    threading.Thread(target=end_with_the_caller, daemon=True).start()
    _, status = os.waitpid(child, 0)
    with suppress(OSError):
        caller.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def start(path: str, argv: list[str]) -> int:
    """Let the server run a command with the files, folder and environment of this process; returns its end."""
    passed = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, passed)
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        asked = {"argv": argv, "folder": os.getcwd(), "environment": dict(os.environ)}
        socket.send_fds(server, [json.dumps(asked).encode() + b"\n"], [0, 1, 2])
        answers = server.makefile()
        child = int(answers.readline())
        for number in passed:
            signal.signal(number, lambda number, frame: os.kill(child, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, passed)
        for file in range(3):
            os.close(file)  # whoever reads a pipe waits for the child alone
        return int(answers.readline() or 1)


def run(argv: list[str]) -> NoReturn:
    """What the interpreter does with its arguments: ``-m MODULE``, ``-c CODE`` or a script; ends the process."""
    kind, *rest = argv
    code: object = 0
    try:
        if kind == "-m":
            sys.argv, sys.path[0] = rest, os.getcwd()
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif kind == "-c":
            sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
            exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv, sys.path[0] = argv, str(Path(kind).parent)
            runpy.run_path(kind, run_name="__main__")
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        traceback.print_exc()
        code = 1
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    # What Python does at its end, but for taking torch apart (2 s).
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit((code or 0) & 255)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        run(serve(socket.socket(fileno=int(sys.argv[2])), sys.argv[3]))
    else:
        ended = start(sys.argv[2], sys.argv[3:])
        if ended < 0:
            with suppress(OSError):  # SIGKILL has no handler
                signal.signal(-ended, signal.SIG_DFL)
            os.kill(os.getpid(), -ended)
        os._exit(ended)  # the standard files are closed
