"""Figures of a search: one function a plot. The list of them is `analysis.plots`."""
