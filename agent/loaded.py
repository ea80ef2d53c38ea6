# SPDX-License-Identifier: MIT
"""Which of our modules are loaded.  Part of the shell.

What is needed for a while only is loaded for that while: on a board, all of
ours that was loaded after the agent was made can be forgotten again.  Modules
hold no state, so a second copy does no harm.
"""

import gc
import sys

OURS = ("agent", "platform_adapters")
# What a task that is under way does not come back to at each of its pieces: conversation, machines, what reads and signs
BRIEF = (
    "agent.acts",
    "agent.begin",
    "agent.chores",
    "agent.claims",
    "agent.clouds.",
    "agent.crypto.",
    "agent.identity",
    "agent.journal",
    "agent.offers",
    "agent.session",
    "agent.signing",
    "agent.states",
    "agent.talk",
    "agent.token",
    "agent.update",
    "platform_adapters.anchored",
    "platform_adapters.filestore",
    "platform_adapters.micropython_dial",
    "platform_adapters.micropython_files",
    "platform_adapters.pinned",
    "platform_adapters.trusted_file",
)


class Modules:
    def __init__(self, passing):
        """`passing`: names of modules that are loaded already, and have done their work."""
        self._resident = set(sys.modules) - set(passing)
        self._left = 0  # modules that were left when we last forgot the others

    def get(self, name):
        """agent/<name>.py, loaded when it is asked for."""
        name = "agent." + name
        if name not in sys.modules:
            __import__(name)
        return sys.modules[name]

    def let_go(self, name):
        """Forget agent/<name>.py, which the caller alone has used: a task may, which has it no longer."""
        name = "agent." + name
        if sys.implementation.name == "micropython" and name in sys.modules and name not in self._resident:
            _drop(name)
            gc.collect()

    def briefly(self, agent, module, name, args):
        """See `Agent.briefly`.  What was loaded before stays: a task may be under way that uses it."""
        before = set(sys.modules)
        try:
            return getattr(self.get(module), name)(agent, *args)
        finally:
            if sys.implementation.name == "micropython":
                if hasattr(agent.platform.keys, "let_go"):
                    agent.platform.keys.let_go()
                self._drop_all([n for n in sys.modules if n not in before])

    def forget(self, platform, busy):
        """Let go of all that came later.  The caller knows that nothing under way needs it, or that tasks are under way
        (`busy`): then only conversation and machines go, of which a task keeps no more than what it has in hand."""
        if sys.implementation.name != "micropython":
            return  # CPython has the room, and classes there are better not loaded twice
        count = -len(sys.modules) if busy else len(sys.modules)
        if count == self._left:
            return
        passing = [n for n in sys.modules if n not in self._resident and n.split(".")[0] in OURS]
        if busy:
            passing = [n for n in passing if n.startswith(BRIEF)]
        if passing and hasattr(platform, "idle"):
            platform.idle(busy)
        self._drop_all(passing)
        self._left = -len(sys.modules) if busy else len(sys.modules)

    def _drop_all(self, names):
        if names:
            for name in names:
                _drop(name)
            gc.collect()


def _drop(name):
    parent, _, leaf = name.rpartition(".")
    del sys.modules[name]
    if hasattr(sys.modules.get(parent), leaf):
        delattr(sys.modules[parent], leaf)
