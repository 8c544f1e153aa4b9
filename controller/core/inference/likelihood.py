"""How strongly a sign speaks, in nats (natural logarithms of likelihood ratios), and what each fault costs before any evidence.

With h a fault and c a cell that it should make bad: a bad cell speaks for h with ln(P(bad|h) / P(bad|no fault)), a well one against it
with -ln(P(ok|h) / P(ok|no fault)). Reports are missed (lost, late, a probe that was lucky) and are false now and then; the rates here
allow for one report in ten lost and one in fifty false, which is worse than any real cluster.
"""

from __future__ import annotations

from typing import Final

HIT: Final = 3.9
"""ln(0.98 / 0.02): a fault's cells go bad nearly always; without one a report is false once in fifty."""
PROOF: Final = 3.5
"""-ln(0.03): seen well after the fault began, or so long without a word that its observer would have reported it."""
SILENCE: Final = 1.2
"""-ln(0.3): as before, but its observer was not heard since: it may be cut off itself."""
UNLIKE: Final = 0.15
"""What is well and may not be known to be bad yet speaks a little against a fault all the same: the smaller fault is likelier."""
QUIET: Final = 0.9
"""-ln(0.4): a node without a probe that says nothing; whether it uses the component at all is not known."""

COMPONENT: Final = 3.0
"""A server, a portal, a target: the likeliest thing to break when everybody lost it."""
NAMED: Final = 0.1
"""Between two names of what nobody can tell apart, the one that says more."""
HOST: Final = 3.4
"""Several services of one address at once."""
SUBNET: Final = 4.0
"""A network with everything in it."""
ACCESS: Final = 4.0
"""One node's way into one network."""
NODE_NETWORK: Final = 4.3
"""All of one node's storage networks."""
WAY: Final = 4.6
"""One node's way to one thing, while its network is well: a route, a firewall, an access list."""
TOGETHER: Final = 1.5
"""What a further node's way costs once one of the same network or thing is believed lost: nodes share switches."""
ANSWERED: Final = 2.0
"""Added when the far end answered, by closing or refusing: then the network is not the likely culprit."""
DIRECT: Final = 2.0
"""What a node says of a thing itself, and what nothing else could be the reason of."""
DENIED: Final = 1.0
"""Added when a stale handle is taken for a denied export: where all have it, the export is likelier to be another one now."""
SOME: Final = 0.7
"""-ln(0.5), for each further node that has it: which nodes an export is denied to is anybody's choice."""
NODE: Final = 2.5
"""A node that is gone: several kinds of sign at once."""
CONFIGURATION: Final = 2.0
"""A change of storage.cfg just before: what it touched broke by it more often than not."""
DONE_BEFORE: Final = 1.0
"""Taken off what a fault costs when something was done just before that brings it about now and then: it is three times as likely."""
