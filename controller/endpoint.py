"""ZeroMQ endpoints that the controller listens on."""

from __future__ import annotations


def on_ipv6(endpoint: str) -> bool:
    """Tell whether a socket for this endpoint must take IPv6: without the option libzmq binds none of its addresses.

    For any address (``*``) it then takes IPv4 as well; where the kernel has no IPv6, libzmq falls back to IPv4 by itself.
    """
    return endpoint.startswith(("tcp://*:", "tcp://["))
