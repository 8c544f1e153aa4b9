"""What the controller's tests share: a ZeroMQ context of a test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq.asyncio


@pytest.fixture
def context() -> Iterator[zmq.asyncio.Context]:
    """Return the context that the code under test takes, and end it afterwards.

    A context has one ZAP handler. libzmq closes sockets in a thread of its own, so the next test's handler could find the last one's
    address still taken; ``term`` waits until every socket is really closed.
    """
    made = zmq.asyncio.Context.instance()
    yield made
    made.term()
