"""Guest configurations to events: which storages each guest of this node needs, and for what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from agent.classify.definitions import Definitions
from agent.record import RawRecord
from events.base import Event, Seen
from events.definitions import MOST_USES, GuestDefined, GuestGone, VolumeUse
from events.entity import Entity, EntityKind
from pve import lxc_config, qemu_config
from pve.guest import Guest, Need, Use

_LONGEST: Final = 1024
_PARSERS: Final = {"qemu": qemu_config.parse, "lxc": lxc_config.parse}
_DEFINED: Final = "guest.defined"


class GuestClassifier:
    """Turns guests' files and the list of who is there into events."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    def guest(self, record: RawRecord) -> Iterator[Event]:
        """Yield the definition of a guest when it is another one than was said before."""
        fields = record.fields
        parse, vmid = _PARSERS.get(fields.get("kind", "")), fields.get("vmid", "")
        if parse is None or not vmid.isdigit() or not fields.get("node"):
            return
        found = parse(fields.get("text", "").encode("latin-1"), int(vmid))
        yield from self._definitions.news(
            [_definition(found, fields["node"], _seen(record, f"{fields['kind']}/{vmid}.conf: {found.digest}"))]
        )

    def present(self, record: RawRecord) -> Iterator[Event]:
        """Yield the end of each guest that was said and is not on the node any more."""
        node, vmids = record.fields.get("node", ""), record.fields.get("vmids", "").split()
        if node:
            for vmid in self._definitions.missing(_DEFINED, vmids):
                yield GuestGone(subject=Entity(EntityKind.GUEST, vmid), seen=_seen(record, ".vmlist"), node=node)


def _definition(guest: Guest, node: str, seen: Seen) -> GuestDefined:
    uses = list(_uses(guest.uses))
    return GuestDefined(
        subject=Entity(EntityKind.GUEST, str(guest.vmid)),
        seen=seen,
        guest=guest.kind,
        node=node,
        name=guest.name[:256],
        template=guest.template,
        onboot=guest.onboot,
        uses=tuple(uses[:MOST_USES]),
        omitted=max(0, len(uses) - MOST_USES),
    )


def _uses(uses: Iterable[Use]) -> Iterator[VolumeUse]:
    """Yield what is needed to run, then to start; of what only history needs one for each storage that nothing else is on."""
    all_ = list(uses)
    for need in (Need.RUNTIME, Need.START):
        yield from (_use(one) for one in all_ if one.need is need)
    known = {one.storage for one in all_ if one.need is not Need.HISTORY}
    for one in all_:
        if one.need is Need.HISTORY and one.storage and one.storage not in known:
            known.add(one.storage)
            yield _use(one)


def _use(use: Use) -> VolumeUse:
    return VolumeUse(
        key=use.key[:256],
        storage=use.storage[:256],
        volume=(use.volume or use.path)[:_LONGEST],
        role=use.role.value,
        need=use.need.value,
        section=use.section[:256],
        shared=use.shared,
    )


def _seen(record: RawRecord, excerpt: str) -> Seen:
    return Seen(source=record.source, cursor=record.cursor, excerpt=excerpt)
