"""`simulacra`: the commands together, and how they end."""

from __future__ import annotations

import errno
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from cyclopts import (
    App,
    CycloptsError,
    MissingArgumentError,
    Parameter,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from simulacra.cli import terminal
from simulacra.cli.again import again
from simulacra.cli.classify import classify
from simulacra.cli.compare import compare
from simulacra.cli.complete import complete
from simulacra.cli.data import data
from simulacra.cli.denoise import denoise
from simulacra.cli.encode import encode, probe
from simulacra.cli.evaluate import evaluate
from simulacra.cli.export import export
from simulacra.cli.field import field
from simulacra.cli.interpolate import interpolate
from simulacra.cli.invert import invert
from simulacra.cli.map import map_
from simulacra.cli.models import models
from simulacra.cli.outliers import outliers
from simulacra.cli.plain import never_fail, plain
from simulacra.cli.push import push
from simulacra.cli.reconstruct import reconstruct
from simulacra.cli.resume import resume
from simulacra.cli.runs import runs
from simulacra.cli.sample import sample
from simulacra.cli.surprise import surprise
from simulacra.cli.train import train
from simulacra.cli.watch import watch
from simulacra.ground import processes
from simulacra.ground.errors import (
    ResourceError,
    SimulacraError,
    UsageError,
    nearest,
    out_of_memory,
)


def _version() -> str:
    from importlib import metadata

    return f"simulacra {metadata.version('simulacra')}"


app = App(
    name="simulacra",
    help="Which generative model should I use for my data, and how good is it really?",
    help_format="plaintext",
    default_parameter=Parameter(negative=""),
    version=_version,
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
    console=terminal.console,
    help_epilogue="With --debug, an error shows where it came from. Exit codes: 0 done, 1 a fault "
    "of simulacra, 2 usage, 3 data, 4 run or checkpoint, 5 memory or disk, 6 training diverged.",
)
COMMANDS = {
    command.__name__.rstrip("_"): command
    for command in (
        models, data, train, watch, resume, again, compare, evaluate, sample, complete, denoise,
        reconstruct, invert, interpolate, map_, encode, probe, classify, surprise, outliers, field,
        runs, export, push,
    )
}  # fmt: skip
_OPTIONS = ("--help", "--version", "--debug")


def _filled(doc: str) -> str:
    """A docstring with a paragraph a line: the help breaks them again, where the terminal ends."""
    text, args, meanings = inspect.cleandoc(doc).partition("\n\nArgs:\n")
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return "\n\n".join(paragraphs) + args + re.sub(r"\n {8,}", " ", meanings)


for name, command in COMMANDS.items():
    command.__doc__ = _filled(command.__doc__ or "")
    app.command(command, name=name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, and end with its exit code; `--debug` shows where an error came from."""
    if processes.count() > 1:
        # what torch notes of its own doings would come from each of the processes
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    never_fail()
    for command in COMMANDS.values():
        # of which the parser makes the help
        command.__doc__ = plain(command.__doc__ or "", terminal.console.encoding)
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    smaller = _SMALLER.get(next(iter(tokens), ""), _SMALLER["train"])
    sys.exit(_exit_code(lambda: app(tokens, exit_on_error=False, print_error=False,
                                    result_action="return_none"),
                        debug=debug, smaller=smaller))  # fmt: skip


_SMALLER = {
    "train": "a smaller --batch or model",
    "data": "a smaller --side or fewer --levels",
    "resume": "a machine with more, or train with a smaller --batch",
    "again": "a machine with more",
    "evaluate": "a machine with more, or --test-limit",
    "sample": "a smaller -n",
    "complete": "a smaller -n, --times or --candidates",
    "denoise": "fewer files at a time",
    "reconstruct": "fewer files at a time, or a smaller -n",
    "invert": "fewer files at a time, or a smaller -n",
    "interpolate": "a smaller -n, or fewer --frames",
    "map": "a smaller -n, or fewer --frames",
    "encode": "fewer files at a time",
    "probe": "a machine with more",
    "classify": "fewer files at a time",
    "surprise": "fewer files at a time, or a smaller -n",
    "outliers": "fewer observations, with -n",
    "field": "a smaller --side or model",
    "runs": "a machine with more",
    "export": "a machine with more",
    "push": "a machine with more",
}
"""What takes less memory, by command: that of training for those that are not here."""


def _exit_code(command: Callable[[], object], *, debug: bool, smaller: str) -> int:
    try:
        command()
    except SimulacraError as error:
        code, message = error.exit_code, str(error)
        caught: BaseException = error
    except CycloptsError as error:
        code, message, caught = UsageError.exit_code, _explained(error), error
    except KeyboardInterrupt:
        terminal.note("stopped")
        return 130
    except BrokenPipeError:
        # whoever read our output has had enough; Python would fail to flush it at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        caught = error
        code, message = _lacking(error, smaller) or (
            1, f"{type(error).__name__}: {error} (a fault of simulacra: --debug shows where)"
        )  # fmt: skip
    else:
        return 0
    if debug:
        traceback.print_exception(caught)
        return code
    terminal.fail(message)
    return code


_NO_ROOM = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO,
    errno.EMFILE, errno.ENFILE, errno.ENOMEM,
)  # fmt: skip
_NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP)


def _lacking(error: Exception, smaller: str) -> tuple[int, str] | None:
    """Exit code and message if not we but the machine or a path is the reason of an error."""
    if isinstance(error, OSError) and error.errno in (*_NO_ROOM, *_NO_PATH):
        kind = ResourceError if error.errno in _NO_ROOM else UsageError
        return kind.exit_code, f"cannot use {error.filename or 'the output'}: {error.strerror}"
    if out_of_memory(error):
        return ResourceError.exit_code, f"memory ran out: use {smaller}"
    return None


def _explained(error: CycloptsError) -> str:
    """The parser's message in our words where it has none for users, and where to read on."""
    command = " ".join(["simulacra", *(error.command_chain or ())])
    unused = error.unused_tokens or [""]
    text = str(error).strip().removesuffix(".")
    if isinstance(error, UnusedCliTokensError):
        text = f"{command} takes no more arguments, got {', '.join(map(repr, unused))} too"
    elif isinstance(error, UnknownCommandError):
        is_option = unused[0].startswith("-")
        kind = "option" if is_option else "command"
        near = nearest(unused[0], _OPTIONS if is_option else COMMANDS)
        text = f"no {kind} is called {unused[0]!r}: {near}"
    elif isinstance(error, UnknownOptionError):
        given = (error.token.keyword or error.token.value).partition("=")[0]
        named = (name for argument in error.argument_collection for name in argument.names)
        known = [name for name in (*named, *_OPTIONS) if name.startswith("--")]
        # what begins so is nearer than what is as short
        begun = sorted(name for name in known if name.startswith(given) and len(given) > 2)
        # dashes, which all have, make no likeness
        close = begun or get_close_matches(given, known, 1, cutoff=0.65)
        text = f"{command} has no option {given}: "
        text += f"did you mean {close[0]!r}?" if close else nearest("", known)
    elif isinstance(error, MissingArgumentError) and error.argument:
        name = error.keyword or error.argument.name
        text = f"{command} needs {f'a value for {name}' if name.startswith('-') else name}"
    return f"{text} (see: {command} --help)"


if __name__ == "__main__":
    main()
