"""What the tools for contributors print on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.status import Status

from dev.processes import ProcessFailed, exit_on_signals

console = Console(highlight=False)


def run_tool(tool: Callable[[], int], *, until_stopped: bool = False) -> int:
    """
    Run a tool and print why it failed or was stopped.

    :param until_stopped: whether Ctrl-C is how the tool is meant to end
    :return: the exit code for the shell
    """
    exit_on_signals()
    try:
        return tool()
    except ProcessFailed as failure:
        print_failure(failure)
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped. No process is left running.")
        return 0 if until_stopped else 130


@contextmanager
def step(sentence: str) -> Iterator[Status]:
    """Show that something is being done, and afterwards how long it took."""
    started = monotonic()
    with console.status(f"{sentence} ...") as status:
        yield status
    console.print(f"[green]✓[/] {sentence} [dim]{monotonic() - started:.1f} s[/]")


def heading(sentence: str) -> None:
    console.print()
    console.rule(f"[bold]{sentence}", align="left")


def print_claim(sentence: str, holds: bool) -> None:
    """Print a claim with a green check mark or a red cross."""
    console.print(f"{'[green]✓' if holds else '[red]✗'}[/] {sentence}")


def print_failure(failure: ProcessFailed) -> None:
    """Print what failed, after the last lines of the log."""
    if failure.log:
        console.rule(f"[red]The last lines of {failure.log}", align="left")
        for line in failure.last_lines:
            console.print(line, markup=False, soft_wrap=True)
        console.rule(style="red")
    console.print(f"[red]{failure}[/]")
