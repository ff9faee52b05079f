"""``qaic-exec``: compiles a graph into a program of the emulator."""

from __future__ import annotations

import sys
import time

from qaic import environment, graph, program
from qaic.errors import QaicError
from qaic.flags import Flags, parse


def main() -> None:
    """Compile as the command line says."""
    arguments = sys.argv[1:]
    try:
        flags = parse(arguments)
        compile_program(flags, arguments)
    except QaicError as error:
        raise SystemExit(f"Error: {error}") from None
    written = flags.binary_dir / program.NAME
    print(f"SDK {environment.SDK_VERSION}: compiled {flags.model} to {written}")


def compile_program(flags: Flags, arguments: list[str]) -> None:
    """Write a program into a folder that does not exist yet.

    Raises:
        QaicError: the folder exists or cannot be made, or the graph does not compile.
    """
    if flags.binary_dir.exists():
        raise QaicError(f"-aic-binary-dir: '{flags.binary_dir}' already exists")
    time.sleep(environment.compile_seconds())
    model = graph.make_static(graph.load(flags.model), flags.symbols)
    if "convert-to-fp16" in flags.switches:
        graph.round_constants(model)
    try:
        flags.binary_dir.mkdir(parents=True)
        program.write(model, arguments, flags.cores, flags.binary_dir / program.NAME)
    except OSError as error:
        raise QaicError(f"'{flags.binary_dir}': {error.strerror}") from None
