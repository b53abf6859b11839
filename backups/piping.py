"""Running a program with a pipe to or from it, so that nothing of it survives its end or ours.

The program is the leader of its own process group. Whatever ends the block early (an error, the time limit,
a worker that shuts down) kills the group. If this process itself is killed, the pipe breaks, and the program
ends by that.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO, Any

CHUNK = 1 << 20
WORDS_MOST = 4_000
PATIENCE = 5.0


class ProgramError(Exception):
    """A program failed; the message is what it said."""


@contextmanager
def reading(
    argv: list[str], environment: Mapping[str, str], descriptors: Sequence[int] = ()
) -> Iterator[IO[bytes]]:
    """Give the output of a program; raise `ProgramError` at the end unless it succeeded.

    `descriptors` are open files that it inherits.
    """
    with _program(argv, environment, stdout=subprocess.PIPE, pass_fds=descriptors) as process:
        assert process.stdout is not None
        yield process.stdout


@contextmanager
def writing(argv: list[str], environment: Mapping[str, str]) -> Iterator[IO[bytes]]:
    """Give the input of a program; raise `ProgramError` at the end unless it succeeded.

    A program that stops reading has a reason, which is worth more than the broken pipe.
    """
    with _program(argv, environment, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        try:
            yield process.stdin
            process.stdin.close()
        except BrokenPipeError:
            _close_quietly(process.stdin)


@contextmanager
def _program(
    argv: list[str], environment: Mapping[str, str], **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    with TemporaryFile() as words:  # a file and not a pipe: nobody has to read it for the program to go on
        process = subprocess.Popen(
            argv,
            env=dict(environment),
            stdin=options.get("stdin", subprocess.DEVNULL),
            stdout=options.get("stdout", subprocess.DEVNULL),
            stderr=words,
            pass_fds=options.get("pass_fds", ()),
            start_new_session=True,
        )
        try:
            yield process
            code = process.wait()
        finally:
            _end(process)
        if code != 0:
            raise ProgramError(f"{os.path.basename(argv[0])} failed ({code}): {_last_of(words)}")  # noqa: PTH119


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of the group: ask it to end, then make it."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            _close_quietly(pipe)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            continue


def _close_quietly(pipe: IO[bytes]) -> None:
    with suppress(OSError):  # what was still buffered has no reader; the program's own end says why
        pipe.close()


def _last_of(words: IO[bytes]) -> str:
    words.seek(0)
    text = " ".join(words.read().decode("utf-8", "replace").split())
    return text[-WORDS_MOST:] or "it said nothing"
