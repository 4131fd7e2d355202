"""`haul`: runs one command line; the one place where errors become a line on standard error and an exit code.

Which commands there are is told by `cli.tree`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import typer

from cli import output, tree
from cli.errors import CommandError, ServerError
from common.names import printable

_DEBUG_VARIABLE = "HAUL_DEBUG"


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit code; errors have been written to standard error."""
    # The command is called past `Typer.__call__`, which would put its own excepthook in the place of ours.
    command = typer.main.get_command(tree.build())
    try:
        try:
            command(args=None if arguments is None else list(arguments), prog_name="haul")
        finally:
            # Here, because the interpreter's own flush at its end would complain in its own way.
            sys.stdout.flush()
    except CommandError as error:
        hint = f"\n       {error.hint}" if isinstance(error, ServerError) and error.hint else ""
        _say_error(f"{error}{hint}")
        return error.exit_code
    except BrokenPipeError:
        output.abandon()
        return 1
    except OSError as error:
        if error.filename is None:
            output.abandon()
        _say_error(f"{_what_failed(error)}: {error.strerror or error}")
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _say_error(text: str) -> None:
    with contextlib.suppress(OSError):  # the exit code tells it, too
        output.note(f"Error: {text}", style="red" if sys.stderr.isatty() else "")


def _what_failed(error: OSError) -> str:
    """Commands turn the errors of files and sockets into their own; what is left over is mostly their output."""
    return "cannot write to standard output" if error.filename is None else printable(str(error.filename))


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A bug of ours: said in one line, with the way to learn more."""
    if os.environ.get(_DEBUG_VARIABLE):
        sys.__excepthook__(kind, error, trace)
    else:
        text = f"Error: this should not have happened: {kind.__name__}: {error} ({_DEBUG_VARIABLE}=1 shows more)"
        sys.stderr.write(text + "\n")


def main() -> None:
    """The entry point."""
    sys.excepthook = _unexpected
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        # None when it was closed by whoever started us, who then wants none of it.
        sys.stdout = sys.stdout or nowhere
        sys.exit(run())


if __name__ == "__main__":
    main()
