"""Command line: ``python -m steppe doctor | demo``."""

from __future__ import annotations

import importlib
import sys

_COMMANDS = {
    "demo": "fit both models on real data, serial, threaded and under mpiexec; print one table",
    "doctor": "tell how steppe was built and whether it works here",
}


def _usage() -> str:
    lines = [f"  {name:8} {what}" for name, what in _COMMANDS.items()]
    return "\n".join(["usage: python -m steppe COMMAND [options]", "", *lines])


def main(arguments: list[str]) -> int:
    """Run a command and return its exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    command, *options = arguments
    if command not in _COMMANDS:
        print(f"steppe: no command {command!r}\n\n{_usage()}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"steppe.{command}")
    status: int = module.main(options)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
