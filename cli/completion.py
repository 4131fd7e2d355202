"""`haul completion`: what a shell needs to complete command lines, and the completions themselves, one a line.

Shells hand over the words before the cursor (bash the line, because it breaks words at colons); what may stand there is
found by `cli.candidates`, names in the cluster by `cli.clusternames`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from enum import StrEnum
from typing import Annotated

import typer

from cli import candidates, output
from cli.clusternames import ClusterNames
from cli.errors import UsageError
from common.names import printable


class Shell(StrEnum):
    """Shells that can be told how to complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_BASH = r"""_haul_completion() {
    local IFS=$'\n'
    COMPREPLY=($(HAUL_LINE="${COMP_LINE:0:COMP_POINT}" HAUL_BREAKS="$COMP_WORDBREAKS" "$1" complete bash 2>/dev/null))
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o default -o nosort -F _haul_completion haul
"""
_ZSH = r"""#compdef haul
_haul() {
    local -a lines values texts
    local line
    lines=("${(@f)$(${words[1]} complete zsh -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    for line in $lines; do
        values+=("${line%%$'\t'*}")
        texts+=("${line/$'\t'/  }")
    done
    if (( ! $#values )); then
        _files
    elif [[ ${values[1]} == */ ]]; then
        compadd -S '' -d texts -- $values
    else
        compadd -d texts -- $values
    fi
}
if [[ ${funcstack[1]} == _haul ]]; then
    _haul "$@"
else
    compdef _haul haul
fi
"""
_FISH = r"""function __haul_complete
    set -l found (command haul complete fish -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c haul -f -a '(__haul_complete)'
"""
_SCRIPTS = {Shell.BASH: _BASH, Shell.ZSH: _ZSH, Shell.FISH: _FISH}
_HELP = (
    'The shell: put  eval "$(haul completion bash)"  into ~/.bashrc,  eval "$(haul completion zsh)"  into ~/.zshrc '
    "behind compinit,  haul completion fish | source  into ~/.config/fish/config.fish."
)


def _shell(text: str) -> Shell:
    try:
        return Shell(text)
    except ValueError:
        raise UsageError(f'no completion for "{printable(text)}": there is {", ".join(Shell)}') from None


def completion(
    shell: Annotated[str, typer.Argument(metavar="|".join(Shell), show_default=False, help=_HELP)],
) -> None:
    """Print what a shell needs to complete command lines of haul."""
    output.lines([_SCRIPTS[_shell(shell)].rstrip("\n")])


def complete(
    context: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="|".join(Shell), show_default=False)],
    words: Annotated[list[str] | None, typer.Argument(metavar="WORD", show_default=False)] = None,
) -> None:
    """Print what may stand for the last word; called by the shell."""
    which = _shell(shell)
    found = words or [""]
    cut = 0
    if which is Shell.BASH:
        found = candidates.split(os.environ.get("HAUL_LINE", ""))[1:] or [""]
        cut = candidates.broken_at(found[-1], os.environ.get("HAUL_BREAKS", ""))
    with contextlib.suppress(BrokenPipeError):
        for value, text in candidates.of(context.find_root().command, found, ClusterNames()):
            shown = candidates.quoted(value)[cut:] if which is Shell.BASH else value
            sys.stdout.write(f"{shown}\t{text}\n" if text and which is not Shell.BASH else f"{shown}\n")
