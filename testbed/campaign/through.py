"""A scenario through a tool: the same country, apps and timeline, but what can go through the tool does. Pure.

Where the scenario has tools of its own, the matrix's tool takes their places and only the apps that went through them
go through it. Else every app of the tool's host that can, does. What the scenario expects of these apps speaks of the
country without the tool and is dropped; what it expects of the others stays: it is the control.
"""

from __future__ import annotations

from testbed.campaign.spec import ToolEntry
from testbed.scenario.params import SERVERS
from testbed.scenario.spec import AppSpec, Scenario, ToolSpec
from testbed.tools.carry import other_server, why_not
from testbed.tools.recipe import Recipe, load_recipe

_NAME, _HOST = "matrix-tool", "client1"


def cast(scenario: Scenario, tool: ToolEntry | None, policy: str | None) -> Scenario:
    """Return the scenario with a cell's policy and tool in it; `ValueError` says why no app can go through the tool."""
    changed = scenario if policy is None else scenario.model_copy(update={"policy": policy})
    if tool is None:
        return changed
    recipe = load_recipe(tool.recipe)
    if recipe.use.command:
        raise ValueError("the tool is a client of its own: apps can't go through it")
    before = [item for item in scenario.tools if any(app.through == item.name for app in scenario.apps)]
    taken = frozenset[str]().union(*(SERVERS.get(app.app, frozenset()) for app in scenario.apps))
    own = before or [ToolSpec(recipe=tool.recipe, name=_NAME, node=_HOST, server=other_server(taken))]
    tools = tuple(item.model_copy(update={"recipe": tool.recipe, "options": tool.options}) for item in own)
    apps = tuple(_through(app, recipe, tools, anew=not before) for app in scenario.apps)
    users = {app.name for app in apps if app.through}
    if not users:
        raise ValueError(f"no app of `{scenario.scenario}` can go through it")
    left = tuple(item for item in changed.expect if item.app not in users)
    return changed.model_copy(update={"tools": tools, "apps": apps, "expect": left})


def _through(app: AppSpec, recipe: Recipe, tools: tuple[ToolSpec, ...], *, anew: bool) -> AppSpec:
    tool = tools[0] if anew else next((item for item in tools if item.name == app.through), None)
    servers = SERVERS.get(app.app, frozenset())
    if tool is None or why_not(app.app, servers, tool.name, recipe, tool.server):
        return app
    use = recipe.use
    if (anew or use.whole_host or use.dns) and app.node != tool.node:
        return app
    return app.model_copy(update={"through": tool.name})


def users(scenario: Scenario) -> frozenset[str]:
    """Return the names of the apps that go through a tool."""
    return frozenset(app.name for app in scenario.apps if app.through)
