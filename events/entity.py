"""Entities: typed, stable names for the things that can break.

An entity is written ``kind/key``, e.g. ``nfs-server/10.1.3.1``, ``iscsi-portal/10.1.1.1:3260``,
``path/pve1/36001405e1069b6f0/8:16``. Two programs that see the same thing give it the same name;
that alone lets a controller see one fault in many reports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from pydantic_core import core_schema

from events.errors import EntityError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

MAX_ENTITY_LENGTH = 512
"""Longest entity text, characters. An IQN is at most 223 (RFC 7143 §4.2.7.1), an export path seldom above 255."""

_KEY = re.compile(r"[^\x00-\x20\x7f-\x9f\ud800-\udfff]+(?: [^\x00-\x20\x7f-\x9f\ud800-\udfff]+)*")
"""A key is printable and has a UTF-8 form; inner single blanks are allowed since export paths may hold them."""


class EntityKind(StrEnum):
    """What an entity is; the sentence says what its key looks like."""

    NODE = "node"
    STORAGE = "storage"
    NFS_SERVER = "nfs-server"
    NFS_EXPORT = "nfs-export"
    ISCSI_PORTAL = "iscsi-portal"
    ISCSI_TARGET = "iscsi-target"
    ISCSI_SESSION = "iscsi-session"
    LUN = "lun"
    PATH = "path"
    MULTIPATH_MAP = "multipath-map"
    SCSI_DEVICE = "scsi-device"
    VG = "vg"
    CEPH = "ceph"
    CEPH_OSD = "ceph-osd"
    CEPH_HOST = "ceph-host"
    CEPH_MON = "ceph-mon"
    CEPH_POOL = "ceph-pool"
    SUBNET = "subnet"
    ACCESS = "access"
    SERVER = "server"
    GUEST = "guest"
    HA = "ha"
    HA_RULE = "ha-rule"
    BACKUP_JOB = "backup-job"
    CLUSTER = "cluster"


KEY_FORMS: dict[EntityKind, str] = {
    EntityKind.NODE: "node name as Proxmox VE knows it: `pve1`",
    EntityKind.STORAGE: "storage id of storage.cfg: `nfs-store`",
    EntityKind.NFS_SERVER: "server as typed in the mount source, an address or a name: `192.168.1.100`",
    EntityKind.NFS_EXPORT: "`server:/path`",
    EntityKind.ISCSI_PORTAL: "`address:port`, IPv6 in brackets: `10.0.1.1:3260`, `[fd00::1]:3260`",
    EntityKind.ISCSI_TARGET: "iSCSI qualified name: `iqn.2005-10.org.freenas.ctl:pve`",
    EntityKind.ISCSI_SESSION: "`node/session-number`, only while portal and target are not known",
    EntityKind.LUN: "WWID as multipath prints it: `36001405e1069b6f08584509b666ec5a5`",
    EntityKind.PATH: "`node/wwid-or-map/major:minor` or `node/wwid-or-map/sdX`",
    EntityKind.MULTIPATH_MAP: "`node/alias`, only while the map's WWID is not known",
    EntityKind.SCSI_DEVICE: "`node/host:channel:target:lun`",
    EntityKind.VG: "volume group name: `vg-iscsi`",
    EntityKind.CEPH: "cluster fsid",
    EntityKind.CEPH_OSD: "`fsid/osd-number`",
    EntityKind.CEPH_HOST: "`fsid/CRUSH-host`",
    EntityKind.CEPH_MON: "`fsid/monitor-name`",
    EntityKind.CEPH_POOL: "`fsid/pool-name`",
    EntityKind.SUBNET: "network in CIDR form: `10.0.1.0/24`",
    EntityKind.ACCESS: "`node/network`: one node's way into a network: `pve1/10.0.1.0/24`",
    EntityKind.SERVER: "address or name of a storage server other than NFS: CIFS, PBS, ESXi, ZFS over iSCSI: `192.168.1.101`",
    EntityKind.GUEST: "VMID: `100`",
    EntityKind.HA: "HA service id: `vm:100`",
    EntityKind.HA_RULE: "id of a rule in rules.cfg, or name of a group in groups.cfg: `prefer-pve1`",
    EntityKind.BACKUP_JOB: "id of a job in jobs.cfg: `backup-5d2f6a1e-9c1b`",
    EntityKind.CLUSTER: "cluster name of corosync.conf",
}
"""Form of the key for each kind; `docs/events.md` prints it."""


@dataclass(frozen=True, slots=True, order=True)
class Entity:
    """A thing that can break, named. Immutable, hashable, ordered by its text's parts.

    :raises EntityError: when the key is empty, too long or holds control characters.
    """

    kind: EntityKind
    key: str
    _text: str = field(init=False, repr=False, compare=False)
    """Made once: reports name the same few things again and again."""

    def __post_init__(self) -> None:
        """Refuse what is no name."""
        object.__setattr__(self, "_text", f"{self.kind}/{self.key}")
        if len(self.key) + len(self.kind) >= MAX_ENTITY_LENGTH:
            raise EntityError(f"entity key of kind {self.kind} is longer than {MAX_ENTITY_LENGTH} characters")
        if not _KEY.fullmatch(self.key):
            raise EntityError(f"entity key {self.key!r} of kind {self.kind} is empty or holds blanks or control characters")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``kind/key``.

        :raises EntityError: when the kind is unknown or the key is not printable.
        """
        kind, slash, key = text.partition("/")
        if not slash or kind not in _KINDS:
            raise EntityError(f"{text[:80]!r} is not an entity: expected kind/key with a known kind, such as nfs-server/10.0.0.5")
        return cls(_KINDS[kind], key)

    def __str__(self) -> str:
        """Return the stable text form ``kind/key``."""
        return self._text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """In models an entity is validated from its text and dumped as its text."""
        return core_schema.no_info_plain_validator_function(
            _coerce,
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """In JSON Schema an entity is a patterned string."""
        kinds = "|".join(kind.value for kind in EntityKind)
        return {"type": "string", "pattern": f"^({kinds})/.+$", "maxLength": MAX_ENTITY_LENGTH, "title": "Entity"}


_KINDS = {kind.value: kind for kind in EntityKind}


@lru_cache(maxsize=8192)
def entity(text: str) -> Entity:
    """Parse ``kind/key``, remembering recent answers: reports name the same few things again and again.

    :raises EntityError: as :meth:`Entity.parse`.
    """
    return Entity.parse(text)


def _coerce(value: object) -> Entity:
    if isinstance(value, str):
        return entity(value)
    if isinstance(value, Entity):
        return value
    raise EntityError(f"an entity is a text kind/key, not {type(value).__name__}")


def portal(address: str, port: int | str = 3260) -> Entity:
    """Name an iSCSI portal; IPv6 addresses get brackets so that the port stays readable."""
    host = address.strip("[]")
    return Entity(EntityKind.ISCSI_PORTAL, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
