"""The assignments, by name; each module holds its tasks and how they are judged."""

from . import a1_layers, a3_rtu

ASSIGNMENTS = {sheet.name: sheet for sheet in (a1_layers.SHEET, a3_rtu.SHEET)}
