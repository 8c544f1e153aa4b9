"""What an administrator asks of and does to a running cluster, through the monitors. Each method is one intention, not one command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from agent.sources.librados import CephError

_THROTTLES = ("osd_recovery_sleep", "osd_max_backfills", "osd_recovery_max_active")
_SLOW = ("osd_debug_inject_dispatch_delay_probability", "osd_debug_inject_dispatch_delay_duration", "osd_recovery_op_priority")
_KEPT = frozenset(("rbd", ".mgr", "device_health_metrics"))
"""Pools of a new cluster; the managers' own has the last name before Ceph 17."""
_FLAGS = ("noout", "nodown", "noup", "noin", "nobackfill", "norecover", "norebalance")


class Administration:
    """Questions and verbs. Whoever inherits says how to ask."""

    def ask(self, prefix: str, **arguments: object) -> Any:
        """Run a command as the administrator; return its JSON."""
        raise NotImplementedError

    # -- asking

    def codes(self) -> dict[str, str]:
        """Return the health codes raised and not muted, each with its summary."""
        checks = self.ask("health", detail="detail")["checks"]
        return {code: check["summary"]["message"] for code, check in checks.items() if not check["muted"]}

    def osds(self, state: str) -> set[int]:
        """Return the numbers of the OSDs that are `up` or `in`."""
        return {osd["osd"] for osd in self.ask("osd dump")["osds"] if osd[state]}

    def healthy(self) -> bool:
        """Say whether Ceph says HEALTH_OK, and all placement groups are clean: a manager that just woke up says the first too early."""
        status = self.ask("status")
        states = status["pgmap"]["pgs_by_state"]
        return bool(status["health"]["status"] == "HEALTH_OK" and [state["state_name"] for state in states] == ["active+clean"])

    def wait(self, holds: Callable[[], bool], what: str, seconds: float = 60.0) -> float:
        """Wait until something holds; return how many seconds that took. A command that fails meanwhile does not.

        :raises CephError: it did not in time; says ``what``, and what Ceph complains of.
        """
        begun = time.monotonic()
        while not _true(holds):
            if time.monotonic() - begun > seconds:
                raise CephError(f"{what}: not within {seconds:.0f} s; now {self.codes()}")
            time.sleep(0.1)
        return time.monotonic() - begun

    def wait_clean(self) -> float:
        """Wait until all placement groups are clean, whatever else Ceph complains of."""
        return self.wait(
            lambda: [each["state_name"] for each in self.ask("status")["pgmap"]["pgs_by_state"]] == ["active+clean"], "all clean"
        )

    def wait_healthy(self, seconds: float = 90.0) -> float:
        """Wait until the cluster is healthy; return how long that took."""
        return self.wait(self.healthy, "HEALTH_OK and all placement groups clean", seconds)

    def wait_calm(self, seconds: float = 120.0, still: float = 3.0) -> None:
        """Wait until the cluster is healthy and stays so for ``still`` seconds: after a fault health comes and goes."""
        deadline = time.monotonic() + seconds
        while True:
            self.wait_healthy(deadline - time.monotonic())
            calm = time.monotonic() + still
            while time.monotonic() < calm and _true(self.healthy):
                time.sleep(0.3)
            if time.monotonic() >= calm:
                return

    def wait_for(self, *codes: str, seconds: float = 90.0) -> float:
        """Wait until all these health codes are raised; return how long that took. PG_AVAILABILITY takes 60 s (mon_pg_stuck_threshold)."""
        return self.wait(lambda: set(codes) <= set(self.codes()), f"{', '.join(codes)} raised", seconds)

    def wait_muted(self, code: str) -> float:
        """Wait until a health code is raised and muted: both take effect a moment after they were asked for."""
        return self.wait(lambda: bool(self.ask("health", detail="detail")["checks"].get(code, {}).get("muted")), f"{code} muted")

    def wait_up(self, osd: int) -> float:
        """Wait until an OSD is up."""
        return self.wait(lambda: osd in self.osds("up"), f"osd.{osd} up")

    def wait_down(self, osd: int) -> float:
        """Wait until an OSD is down."""
        return self.wait(lambda: osd not in self.osds("up"), f"osd.{osd} down")

    def wait_out(self, osd: int) -> float:
        """Wait until an OSD is out."""
        return self.wait(lambda: osd not in self.osds("in"), f"osd.{osd} out", 90)

    def wait_moving(self) -> float:
        """Wait until data moves."""
        return self.wait(lambda: "recovering_objects_per_sec" in self.ask("status")["pgmap"], "data moves")

    # -- what an administrator does

    def create_pool(self, name: str, size: int = 3, pgs: int = 16, application: str = "rbd") -> None:
        """Create a replicated pool; ``min_size`` is Ceph's own rule, half of the copies rounded up."""
        self.ask("osd pool create", pool=name, pg_num=pgs, pgp_num=pgs, pool_type="replicated", size=size)
        if application:
            self.ask("osd pool application enable", pool=name, app=application)

    def delete_pool(self, *names: str) -> None:
        """Delete pools with all that is in them."""
        for name in names:
            self.ask("osd pool delete", pool=name, pool2=name, yes_i_really_really_mean_it=True)

    def create_filesystem(self, name: str) -> None:
        """Create a CephFS and its two pools, as Proxmox VE names them. No metadata server serves it."""
        for part in ("metadata", "data"):
            self.create_pool(f"{name}_{part}", pgs=8, application="")
        self.ask("fs new", fs_name=name, metadata=f"{name}_metadata", data=f"{name}_data")

    def remove_filesystem(self, name: str) -> None:
        """Remove a CephFS and its pools."""
        self.ask("fs fail", fs_name=name)
        self.ask("fs rm", fs_name=name, yes_i_really_mean_it=True)
        self.delete_pool(f"{name}_metadata", f"{name}_data")

    def move_into_rack(self, rack: str, *hosts: str) -> None:
        """Move CRUSH hosts into a rack of the default root, made when it is not there."""
        self.ask("osd crush add-bucket", name=rack, type="rack", args=["root=default"])
        for host in hosts:
            self.ask("osd crush move", name=host, args=[f"rack={rack}"])

    def dissolve_rack(self, rack: str, *hosts: str) -> None:
        """Move a rack's CRUSH hosts back below the root, and remove it."""
        for host in hosts:
            self.ask("osd crush move", name=host, args=["root=default"])
        self.ask("osd crush rm", name=rack)

    def scrub(self, pool: str = "rbd") -> None:
        """Let all placement groups of a pool be read and compared, now."""
        self.ask("osd pool deep-scrub", who=[pool])

    def repair_pool(self, pool: str = "rbd") -> None:
        """Let all placement groups of a pool be compared, and what differs be made equal again."""
        self.ask("osd pool repair", who=[pool])

    def archive_crashes(self) -> None:
        """Say that all reported crashes were seen."""
        self.ask("crash archive-all")

    def set_flag(self, flag: str) -> None:
        """Set a flag of the OSD map: `noout`, `nodown`, `norebalance` and the like."""
        self.ask("osd set", key=flag)

    def unset_flag(self, flag: str) -> None:
        """Unset a flag of the OSD map."""
        self.ask("osd unset", key=flag)

    def set_host_flag(self, flag: str, *hosts: str) -> None:
        """Set a flag (`noout`, `noin`, `nodown`, `noup`) for single CRUSH hosts, as one does before working on one."""
        self.ask("osd set-group", flags=flag, who=list(hosts))

    def unset_host_flag(self, flag: str, *hosts: str) -> None:
        """Unset a flag of single CRUSH hosts."""
        self.ask("osd unset-group", flags=flag, who=list(hosts))

    def mute(self, code: str, ttl: str = "", *, sticky: bool = False) -> None:
        """Mute a health code, for a time such as `10m`."""
        self.ask("health mute", code=code, sticky=sticky, **({"ttl": ttl} if ttl else {}))

    def unmute(self, code: str) -> None:
        """Unmute a health code."""
        self.ask("health unmute", code=code)

    def set_ratios(self, nearfull: float = 0.85, backfillfull: float = 0.90, full: float = 0.95) -> None:
        """Set the ratios at which an OSD is nearly full, too full to be filled by recovery, full. Ceph's own are the defaults."""
        for name, ratio in (("full", full), ("backfillfull", backfillfull), ("nearfull", nearfull)):
            self.ask(f"osd set-{name}-ratio", ratio=ratio)

    def set_quota(self, pool: str, *, max_bytes: int = 0, max_objects: int = 0) -> None:
        """Set a pool's quota; 0 is none."""
        for field, value in (("max_bytes", max_bytes), ("max_objects", max_objects)):
            self.ask("osd pool set-quota", pool=pool, field=field, val=str(value))

    def option(self, who: str, name: str, value: str) -> None:
        """Set an option while the cluster runs: ``who`` is `osd`, `mon`, `osd.3`, …; an empty value is the default again."""
        if value:
            self.ask("config set", who=who, name=name, value=value)
        else:
            self.ask("config rm", who=who, name=name)

    def throttle(self, seconds: float = 0.5) -> None:
        """Let recovery pause after each object, one backfill at a time: data moves slowly enough to be watched. 0 ends it."""
        for name, value in zip(_THROTTLES, (seconds, 1, 1), strict=True):
            self.option("osd", name, str(value) if seconds else "")

    def slow(self, seconds: float) -> None:
        """Let each OSD pause before each request, and do recovery's before clients'. 0 ends it."""
        for name, value in zip(_SLOW, (1, seconds, 63), strict=True):
            self.option("osd", name, str(value) if seconds else "")

    def mark_down(self, osd: int) -> None:
        """Say that a running OSD is down; it contradicts and comes back. Five times in ten minutes make it give up."""
        self.ask("osd down", ids=[str(osd)])

    def mark_out(self, osd: int) -> None:
        """Take an OSD out: its data moves to others."""
        self.ask("osd out", ids=[str(osd)])

    def mark_in(self, osd: int) -> None:
        """Take an OSD in again."""
        self.ask("osd in", ids=[str(osd)])

    def reset(self, osds: Iterable[int], hosts: Iterable[str]) -> None:
        """Undo every setting that a method here makes, and what was made beside the pool `rbd`."""
        self.ask("osd in", ids=[str(osd) for osd in osds])
        for filesystem in self.ask("fs ls"):
            self.remove_filesystem(filesystem["name"])
        self.delete_pool(*(set(self.ask("osd pool ls")) - _KEPT))
        for rack in (node for node in self.ask("osd tree")["nodes"] if node["type"] == "rack"):
            self.dissolve_rack(rack["name"], *hosts)
        self.archive_crashes()
        for flag in _FLAGS:
            self.unset_flag(flag)
        self.unset_host_flag("noout", *hosts)
        self.set_ratios()
        self.set_quota("rbd")
        for mute in self.ask("health", detail="detail").get("mutes", ()):
            self.unmute(mute["code"])
        self.throttle(0)
        self.slow(0)


def _true(holds: Callable[[], bool]) -> bool:
    try:
        return holds()
    except CephError:
        return False
