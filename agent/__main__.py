"""``faultline-agent``: run the agent of a node, or check its configuration.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 wrong configuration.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent import VERSION
from agent.config import Config, ConfigError, load_config
from agent.errors import AgentError
from agent.keys import own_keys

DEFAULT = Path("/etc/faultline/agent.toml")


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
    try:
        config = load_config(chosen.config)
        if chosen.command == "run":
            return _run(config, chosen.config)
        if chosen.command == "keys":
            own_keys(config.uplink.key_dir, config.node.name)
            print(config.uplink.key_dir / f"{config.node.name}.key")
        else:
            print(f"{chosen.config}: ok")
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 3
    except AgentError as error:
        print(f"faultline-agent: {error}", file=sys.stderr)
        return 1
    return 0


def _run(config: Config, path: Path) -> int:
    # structlog imports rich where that is installed, for tracebacks in colours which a service never prints: 5 MB on every node.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    from agent.app import run  # after that, and not for those who only check a file

    return run(config, path)


if __name__ == "__main__":
    sys.exit(main())
