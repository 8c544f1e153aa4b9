"""The yardstick of the flow: the same messages through nothing but pyzmq and msgpack, from one process to another.

No CURVE, no validation, no disk, no order to keep and nobody to answer. Started by :mod:`bench.flow`:

    python -m bench.bare receive        prints its port, then of each round the monotonic time at which it had all
    python -m bench.bare send PORT N    prints "ready", then for each line that it reads sends at least N messages, and when it began
"""

from __future__ import annotations

import sys
import time

import msgpack
import zmq

from bench.recorded_events import envelopes, repeated

END = b""
"""Ends a round."""


def receive() -> None:
    """Receive and unpack until killed."""
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        print(socket.bind_to_random_port("tcp://127.0.0.1"), flush=True)
        while True:
            while (data := socket.recv()) != END:
                msgpack.unpackb(data, use_list=False)
            print(time.monotonic(), flush=True)


def send(port: int, events: int) -> None:
    """Pack and send, one message an event, whenever told so."""
    messages = envelopes(repeated(events))
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.connect(f"tcp://127.0.0.1:{port}")
        print(len(messages), flush=True)
        for _ in sys.stdin:
            print(time.monotonic(), flush=True)
            for message in messages:
                socket.send(msgpack.packb(message))
            socket.send(END)


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive()
    else:
        send(int(sys.argv[2]), int(sys.argv[3]))
