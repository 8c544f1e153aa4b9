"""The yardsticks of the flow: the same messages through nothing but pyzmq and msgpack, from one process to another.

No validation, no disk, no order to keep and nobody to answer; plain, or encrypted with CURVE as the flow is. Started by
:mod:`bench.flow`:

    python -m bench.bare receive KEYS        prints its port, then of each round the monotonic time at which it had all
    python -m bench.bare send KEYS PORT N    prints how many messages a round has (at least N), then for each line that it reads
                                             sends them, and prints when it began

KEYS is ``plain``, or a CURVE key pair as ``PUBLIC,SECRET`` in Z85, which both sides use.
"""

from __future__ import annotations

import sys
import time
from typing import Final

import msgpack
import zmq

from bench.recorded_events import envelopes, repeated

END = b""
"""Ends a round."""
PLAIN: Final = "plain"


def _secure(socket: zmq.Socket[bytes], keys: str, *, server: bool) -> None:
    if keys == PLAIN:
        return
    public, secret = keys.encode().split(b",")
    socket.curve_publickey, socket.curve_secretkey = public, secret
    if server:
        socket.curve_server = True
    else:
        socket.curve_serverkey = public


def receive(keys: str) -> None:
    """Receive and unpack until killed."""
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        _secure(socket, keys, server=True)
        print(socket.bind_to_random_port("tcp://127.0.0.1"), flush=True)
        while True:
            while (data := socket.recv()) != END:
                msgpack.unpackb(data, use_list=False)
            print(time.monotonic(), flush=True)


def send(keys: str, port: int, events: int) -> None:
    """Pack and send, one message an event, whenever told so."""
    messages = envelopes(repeated(events))
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        _secure(socket, keys, server=False)
        socket.connect(f"tcp://127.0.0.1:{port}")
        print(len(messages), flush=True)
        for _ in sys.stdin:
            print(time.monotonic(), flush=True)
            for message in messages:
                socket.send(msgpack.packb(message))
            socket.send(END)


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(sys.argv[2])
    else:
        send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
