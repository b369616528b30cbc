"""The assignments, by name; each module holds its tasks and how they are judged."""

from . import a1_layers, a2_td_lambda, a3_rtu, a4_actor_critic, a5_bug_hunt, a6_project

MODULES = (a1_layers, a2_td_lambda, a3_rtu, a4_actor_critic, a5_bug_hunt, a6_project)
ASSIGNMENTS = {module.SHEET.name: module.SHEET for module in MODULES}
