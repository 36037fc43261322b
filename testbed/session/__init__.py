"""A live net in the hands of another program: a test suite, a notebook, a script of one's own.

::

    import testbed

    with testbed.censored_net(link="none") as net:
        with net.behind("tm-2022"):
            page = net.fetch("https://twitter.com/")
            assert page.failure == "connection_reset"
            print(page.why)

`CensoredNet` brings one sandbox up and keeps it; commands enter it, the censor is changed while it runs. `pytest` users
have the same by fixtures (`testbed.pytest_plugin`).
"""

from __future__ import annotations

from testbed.session.net import CensoredNet
from testbed.session.programs import Program
from testbed.session.seen import Decided, Done, Page
from testbed.session.using import Using

__all__ = ["CensoredNet", "Decided", "Done", "Page", "Program", "Using"]
