"""The spool: events wait here, durably, until every controller has acknowledged them.

Place in the flow: between the pipelines, which append, and the uplinks, which read and acknowledge. :mod:`agent.spool.spool` is
what they call; :mod:`agent.spool.file` is the file behind it.
"""

from agent.spool.spool import Spool
from agent.spool.values import Limits, Observed, Position, SpoolDamagedError, SpoolError, SpoolForeignError, SpoolFullError

__all__ = ["Limits", "Observed", "Position", "Spool", "SpoolDamagedError", "SpoolError", "SpoolForeignError", "SpoolFullError"]
