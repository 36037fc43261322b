"""Geneva's strategies, in our own small implementation of the published syntax: desynchronising a censor by packets.

::

    [TCP:flags:PA]-fragment{tcp:8:True}-| \\/ [TCP:flags:R]-drop-|
     trigger        action tree            separates outbound from inbound trees

`strategy` holds the trees, `parse` reads them, `packet` knows the fields, `play` applies them: all four pure, so that
a test or a replay can put a strategy's packets before the censor's engine. `divert` plays one on a live host. Source:
Bock et al., *Geneva: Evolving Censorship Evasion Strategies*, CCS 2019, and what the actions of its code do (2023-11).
"""

from testbed.tools.geneva.parse import StrategyError, parse
from testbed.tools.geneva.play import Emitted, Play, apply
from testbed.tools.geneva.strategy import Strategy

__all__ = ["Emitted", "Play", "Strategy", "StrategyError", "apply", "parse"]
