"""All hosts: what every host lost is the storage's fault, what only some lost is those hosts' own.

Source: oVirt / RHV, monitoring of storage domains (RHV Technical Reference, chapter 2.7): a domain that all hosts report becomes inactive,
a host that alone reports one becomes non-operational. Its five minutes of waiting are left out, to its favour.
"""

from __future__ import annotations

from collections import defaultdict

from bench.localize.baselines.model import Blame, Model, Seen
from controller.core.causes import Cause


class AllHosts:
    """One incident for each thing that all lost, one for each node that lost something alone."""

    def blame(self, model: Model) -> list[Blame]:
        """Return storages' faults first, then nodes'."""
        bad = frozenset(model.bad())
        groups: dict[tuple[str, str], list[Seen]] = defaultdict(list)
        for seen in model.states:
            groups[seen.entity, seen.aspect].append(seen)
        whole: dict[tuple[str, str], set[Seen]] = defaultdict(set)
        own: dict[str, set[Seen]] = defaultdict(set)
        for some in groups.values():
            lost = [seen for seen in some if seen in bad]
            if lost and len(lost) == len(some):
                whole[model.suspects(some[0])[0]].update(lost)
            else:
                for seen in lost:
                    own[seen.node].add(seen)
        found = [Blame(name, frozenset(some), len(some)) for name, some in sorted(whole.items())]
        nodes = [
            Blame((Cause.NODE_STORAGE_NETWORK.value, f"node/{node}"), frozenset(some), len(some)) for node, some in sorted(own.items())
        ]
        return found + nodes
