"""``faultline-agent``: run the agent of a node, or check its configuration.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 wrong configuration.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent import VERSION

DEFAULT = Path("/etc/faultline/agent.toml")
_USELESS = ("rich", "ssl", "_hashlib")
"""What libraries import when it is there, and this service never uses: structlog tracebacks in colours, asyncio TLS, hashlib OpenSSL
beside its own functions. 10 MB on every node."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="faultline-agent", description="Watches one node's storage and tells Faultline's controllers.")
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("run", "run until SIGTERM"),
        ("check-config", "check the configuration and say what is wrong"),
        ("keys", "make this node's key pair if there is none, and print where its public key is"),
    ):
        commands.add_parser(name, help=text).add_argument("--config", type=Path, default=DEFAULT, help=f"default {DEFAULT}")
    chosen = parser.parse_args(arguments)
    if chosen.command == "run":
        for name in _USELESS:
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    return _do(chosen.command, chosen.config)


def _do(command: str, file: Path) -> int:
    # After that: each of these imports some of it.
    from agent.config import ConfigError, load_config
    from agent.errors import AgentError
    from agent.keys import own_keys

    try:
        config = load_config(file)
        if command == "run":
            from agent.app import run  # not for those who only check a file

            return run(config, file)
        if command == "keys":
            own_keys(config.uplink.key_dir, config.node.name)
            print(config.uplink.key_dir / f"{config.node.name}.key")
        else:
            print(f"{file}: ok")
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 3
    except AgentError as error:
        print(f"faultline-agent: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
