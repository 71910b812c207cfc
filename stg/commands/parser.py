"""From a frozen dataclass to a command: options, YAML files, one-line errors, exit codes."""

import difflib
import io
import logging
import os
import re
import sys
import traceback
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import cache
from typing import Any, NoReturn, TypeVar, get_args, get_origin

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

import stg
from stg.commands import MODULES
from stg.commands.help_format import FirstHelp, FullHelp, Paragraphs, described
from stg.commands.manuals import MANUALS
from stg.commands.option_files import (
    check_file,
    config_files,
    given_options,
    list_presets,
    option_files,
    presets,
    resolve_presets,
    with_preset,
)
from stg.config.plugins import PluginChanged, load_plugin, require_plugins
from stg.config.schema import check_whole_numbers, in_home, is_no_option, known_keys, options_of, section_of
from stg.config.spelling import near_options
from stg.runtime.errors import Preempted, StgError, UserError
from stg.runtime.files import printable
from stg.runtime.late_imports import import_slow_parts_late
from stg.runtime.output import drop_output, flush_output

C = TypeVar("C")
Resumes = bool | Callable[[C], bool]
PLUGIN_HELP = (
    "A Python file or module that adds decoders, edge variants, data sets, ...; imported before the options are read; "
    "may be given several times."
)
PACKAGES = ("stg", "graphs", "decoders")
NAMES = {module: name for name, module in MODULES.items()}
"""Module of a command -> its name, where the two differ."""
REWORDED = {
    "_ActionConfigLoad": "YAML file with the options of this section.",
    "_ActionPrintConfig": "Print all settings as YAML for --config, and exit; =skip_default leaves out defaults.",
    "_VersionAction": "Show the version and exit.",
}
"""Sentences in place of those of the parser's library, by the kind of option."""
STOPPED = {
    True: "stopped: what is saved so far holds, and the same command resumes from it",
    False: "stopped: no file is left half written; the same command begins again",
}
"""What Ctrl-C leaves behind, by whether the command resumes."""

set_parsing_settings(docstring_parse_attribute_docstrings=True)


@cache
def build_parser(config_class: type, *, prog: str, description: str) -> ArgumentParser:
    """A strict parser for a frozen dataclass.

    A field whose metadata says ``positional=True`` becomes a positional argument (many where its type is a tuple; with
    ``optional=True`` it may be left out), one that says ``flag=True`` an option without a value; one that says
    ``given=True`` is no option: `parse` puts the names of all options into it that the user has set; one that says
    ``kept=True`` is none either and keeps its default. A nested dataclass becomes dotted options (``--optim.lr 1e-4``).
    Every command has ``--config`` (a YAML file, or the name of a preset; ``help`` lists these), ``--print_config``,
    ``--plugin``, ``--debug`` and ``--version``. Built once: it takes longer than all that is parsed with it.
    """
    # Errors are raised, to be made one line of; the environment sets no option, so that a command line says all.
    parser = ArgumentParser(
        prog=prog,
        description=described(config_class, description, prog),
        usage=_usage(config_class),
        exit_on_error=False,
        default_env=False,
        add_help=False,
        formatter_class=Paragraphs,
    )
    parser.stg_manual = MANUALS.get(config_class.__name__)  # type: ignore[attr-defined]  # for the pages of its help
    parser.add_argument("-h", "--help", action=FirstHelp, help="show the commonest options and exit.")
    parser.add_argument("--help_all", action=FullHelp, help="show all options, each in full, and exit.")
    count = len(presets(config_class))
    named = f", or the name of one of {count} presets (--config help lists them)" if count else ""
    parser.add_argument(
        "--config", action="config", help=f"YAML file of options{named}. Options that follow it override it."
    )
    parser.add_argument("--plugin", type=list[str], default=[], metavar="FILE_OR_MODULE", help=PLUGIN_HELP)
    parser.add_argument("--debug", action="store_true", help="Show the whole traceback of an error.")
    parser.add_argument("--version", action="version", version=f"stg {stg.__version__}")
    # By hand, as jsonargparse makes only options of a class's fields.
    positional = [item for item in fields(config_class) if item.metadata.get("positional")]
    for item in positional:
        many = get_origin(item.type) is tuple
        kind = get_args(item.type)[0] if many else item.type
        if item.metadata.get("optional"):
            parser.add_argument(item.name, type=kind, nargs="?", default=item.default, help=item.metadata.get("help"))
        else:
            parser.add_argument(item.name, type=kind, nargs="+" if many else None, help=item.metadata.get("help"))
    flags = [item for item in fields(config_class) if item.metadata.get("flag")]
    for item in flags:
        parser.add_argument(f"--{item.name}", action="store_true", help=item.metadata.get("help"))
    no_options = [item for item in fields(config_class) if is_no_option(item)]
    # Last, and without what stands above: the order of the options in the help is this one.
    parser.add_class_arguments(config_class, None, skip={item.name for item in [*positional, *flags, *no_options]})
    for action in parser._actions:
        action.help = REWORDED.get(type(action).__name__, action.help)
    return parser


def _usage(config_class: type) -> str:
    """The command line in one line: options, then what has no name."""
    words = ["%(prog)s [options]"]
    for item in fields(config_class):
        if item.metadata.get("positional"):
            many, optional = get_origin(item.type) is tuple, item.metadata.get("optional")
            words.append(f"[{item.name}]" if optional else f"{item.name} [{item.name} ...]" if many else item.name)
    return " ".join(words)


def parse(config_class: type[C], argv: Sequence[str], *, prog: str, description: str) -> tuple[C, bool]:
    """Parse ``argv`` into the dataclass; returns it with the ``--debug`` flag. ``--config help`` ends the process.

    Raises:
        UserError: an unknown option or key (with the nearest known one), a wrong type or range, a missing file.
    """
    # Before the parser, which would look for a file of this name.
    if "help" in config_files(argv):
        print(list_presets(config_class))
        sys.exit(0)
    # Files of options and plugins are opened before the settings are there.
    argv = [re.sub(r"^(--[\w.]+=)?(~/.*)", lambda found: (found[1] or "") + in_home(found[2]), word) for word in argv]
    # What a plugin adds may be named by the options.
    plugins, argv = _split_plugins(argv)
    for plugin in plugins:
        load_plugin(plugin)
    if len(named := [name for name in config_files(argv) if name in presets()]) > 1:
        raise UserError(f"presets {' and '.join(named)} would mix into a row of neither: give one of them")
    files = option_files(argv, _sections(config_class))
    for file, sections in files.items():
        check_file(file, sections)
    parser = build_parser(config_class, prog=prog, description=description)  # type: ignore[arg-type]
    try:
        parsed = parser.parse_args(resolve_presets(argv))
        _restore_text(parsed, _text_keys(config_class), argv)
        made = parser.instantiate(parsed)
        debug = bool(made.debug)
        # A plugin named in a file comes too late to add choices: the user is asked to give it by --plugin.
        require_plugins(made.plugin, "a file of --config")
        values = {}
        for item in fields(config_class):  # type: ignore[arg-type]
            # No option: the value that the class gives it stays.
            if item.metadata.get("kept"):
                continue
            if item.metadata.get("given"):
                # Parsed once more without defaults: what is left is what the user set.
                set_by_user = parser.parse_args(resolve_presets(argv), defaults=False)
                values[item.name] = tuple(sorted(map(str, set_by_user.keys())))
                continue
            value = getattr(made, item.name)
            # Lists of the command line become tuples, as the settings are frozen and compared.
            values[item.name] = tuple(value) if isinstance(value, list) else value
        config = in_home(config_class(**values))
        check_whole_numbers(config)
        return config, debug
    except (ArgumentError, ValueError, TypeError) as error:
        raise UserError(_explain(str(error), config_class, argv, list(files))) from error


def _text_keys(config_class: type) -> list[str]:
    """The dotted names of the options that take text or nothing."""
    return [name for name, item in options_of(config_class) if item.type == (str | None)]


def _sections(config_class: type) -> list[str]:
    """The dotted names of the nested dataclasses."""
    return [name for name, item in options_of(config_class) if section_of(item) is not None]


def _restore_text(parsed: Namespace, keys: Sequence[str], argv: Sequence[str]) -> None:
    """Take text on the command line as it stands: the parser reads it as YAML, where ``#1.html`` and ``null`` are none.

    In a file of options null means no value.
    """
    for option, value in given_options(argv):
        if option in keys and parsed[option] is None:
            parsed[option] = value


def _split_plugins(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of ``--plugin``, and all other words of a command line."""
    plugins, others, words = list[str](), list[str](), iter(argv)
    for word in words:
        # Everything behind it is a file, also one called --plugin.
        if word == "--":
            return plugins, [*others, word, *words]
        if word == "--plugin" and (value := next(words, None)) is not None:
            plugins.append(value)
        elif word.startswith("--plugin="):
            plugins.append(word.removeprefix("--plugin="))
        else:
            others.append(word)
    return plugins, others


def command(
    name: str,
    config_class: type[C],
    main: Callable[[C], int | None],
    description: str,
    *,
    resumes: Resumes[C] = False,
    preset: str | None = None,
) -> NoReturn:
    """Run ``main`` on the parsed command line and end the process with the command's exit code.

    ``preset``: the one that a command line without options stands for.
    """
    # `stg` and `python -m stg` set the program's name, a command's own module is named by its path; ./run says what
    # was typed, so that examples can be typed again.
    named = sys.argv[0].endswith(f" {NAMES.get(name, name)}")
    prog = os.environ.get("STG_CALLED") or (sys.argv[0] if named else f"python -m stg.{name}")
    loading = os.environ.get("RANK", "0") == "0"
    argv = with_preset(sys.argv[1:], preset) if preset else sys.argv[1:]
    import_slow_parts_late()
    code = run_command(config_class, main, description, argv, prog=prog, loading=loading, resumes=resumes)
    drop_output()
    sys.exit(code)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Warnings of this project are single lines, of one process; those of libraries stay as they are."""
    with warnings.catch_warnings():
        # torch-scatter and torch-geometric still decorate with torch.jit.script: nothing that a user could act on.
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
        warnings.simplefilter("always", PluginChanged)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **others: Any) -> None:
            if category.__module__.partition(".")[0] not in PACKAGES:
                usual(message, category, *place, **others)
            elif os.environ.get("RANK", "0") == "0":
                with suppress(OSError):
                    print(f"warning: {printable(str(message))}", file=sys.stderr, flush=True)

        warnings.showwarning = show
        yield


@warnings_as_lines()
def run_command(
    config_class: type[C],
    main: Callable[[C], int | None],
    description: str,
    argv: Sequence[str],
    *,
    prog: str = "python -m stg",
    loading: bool = False,
    resumes: Resumes[C] = False,
) -> int:
    """`command` without ending the process: returns 0, or 1 failed, 2 wrong input, 3 too much skipped, 75 preempted,
    130 interrupted.

    ``loading``: say so once the options are found good, as importing torch takes seconds. ``resumes``: the same command
    resumes an interrupted one; a function says so of the settings.
    """
    # Looked for in the words themselves: the parser may be what fails.
    debug, parsed, resuming = "--debug" in argv, False, resumes is True
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        config, debug = parse(config_class, argv, prog=prog, description=description)
        from stg.commands.checks import check  # NumPy and more, which --help does without

        check(config)
        parsed = True
        resuming = resumes(config) if callable(resumes) else resumes
        if loading:
            with suppress(OSError):
                print("loading ...", file=sys.stderr, flush=True)
        code = main(config) or 0
        flush_output()
        return code
    except Preempted as error:
        # Asked for, and all is well: no error.
        return _fail(str(error), error.exit_code, debug, kind="")
    except StgError as error:
        if not parsed and os.environ.get("WORLD_SIZE", "1") not in ("", "1") and os.environ.get("RANK", "0") != "0":
            # Under torchrun all processes read the same options: the first says what is wrong with them.
            return error.exit_code
        return _fail(str(error), error.exit_code, debug)
    except ValueError as error:
        # The libraries underneath (graphs, decoders) refuse bad input with ValueError and words of their own.
        return _fail(str(error), getattr(error, "exit_code", 2), debug)
    except KeyboardInterrupt:
        return _fail(STOPPED[resuming], 130, debug, kind="")
    # The reader of the output, such as head, has enough: nothing to report, and nowhere to.
    except BrokenPipeError:
        return 1
    except MemoryError:
        return _fail("out of memory: use fewer videos at a time (--optim.batch_videos) or a smaller model", 1, debug)
    except OSError as error:
        return _fail(f"{error.filename or 'reading or writing'}: {error.strerror or error}", 1, debug)
    except Exception as error:
        return _fail(
            f"{type(error).__name__}: {error} (a fault of this program: run again with --debug and report it)", 1, debug
        )


def _fail(message: str, code: int, debug: bool, kind: str = "error: ") -> int:
    logging.getLogger("stg").debug("traceback", exc_info=True)
    if debug:
        traceback.print_exc()
    with suppress(OSError):
        print(f"{kind}{printable(message)}", file=sys.stderr, flush=True)
    return code


# What jsonargparse says, by what is wrong: the one place that depends on its words, which a test compares with it.
MESSAGES = {
    "unknown key": re.compile(r"Group '([\w.]+)' does not accept option '([\w.]+)'|Option '([\w.]+)' is not accepted"),
    "unknown option": re.compile(r"unrecognized arguments: --?([\w.-]+)"),
    "not a choice": re.compile(r'Parser key "([\w.]+)": Expected a Literal\[(.*?)\]\. Got value: (\S+)$'),
    "no mapping": re.compile(r'Parser key "([\w.]+)": Expected a <class \'dict\'>\. Got value: (.*)$'),
    "bad file": re.compile(r"^Problems parsing config"),
    "no file": re.compile(r'key "config": File does not exist'),
}


def _explain(message: str, config_class: type, argv: Sequence[str], files: Sequence[str]) -> str:
    """One line from the parser's words: with the file, and with the nearest known option or preset."""
    known, named = known_keys(config_class), presets(config_class)
    line = " ".join(message.replace("typing.", "").replace("<unicode string>", "the file").split())
    # The parser does not say which file a key was in.
    in_file = MESSAGES["unknown key"].search(line)
    if in_file or MESSAGES["bad file"].search(line):
        line = f"{', '.join(files or config_files(argv))}: {line}"
    if match := in_file or MESSAGES["unknown option"].search(line):
        name = ".".join(filter(None, match.groups()))
        if in_file:
            near = near_options(name, known)
        else:
            known = [*known, "config", "plugin", "debug", "version", "help", "help_all"]
            plain = {item.name for item in fields(config_class) if item.metadata.get("positional")}
            near = [f"{key} (without --)" if key in plain else f"--{key}" for key in near_options(name, known)]
        line += f"; did you mean {' or '.join(near)}?" if near else f"; known options: {', '.join(known)}"
    elif named and MESSAGES["no file"].search(line):
        near = [name for given in config_files(argv) for name in difflib.get_close_matches(given, named, n=3)]
        line += f"; did you mean the preset {' or '.join(near)}?" if near else "; --config help lists the presets"
    # A file whose name begins with a dash was read as an option.
    elif dashed := [token for token in argv if token.startswith("-") and os.path.exists(token)]:
        line += f"; put -- before {dashed[0]!r}, which is a file and no option"
    if choices := MESSAGES["not a choice"].search(line):
        name, listed, given = choices.groups()
        line = f"{line[: choices.start()]}--{name} must be one of {listed.replace(chr(39), '')}; got {given}"
    if mapping := MESSAGES["no mapping"].search(line):
        name, given = mapping.groups()
        line = f"{line[: mapping.start()]}--{name} must be names with values, such as '{{\"mine\": 1.0}}'; got {given}"
    return line
