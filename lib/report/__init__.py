"""Reads the records of runs back, and shows them.

attempts      the attempts at each stage of a run
cells         the output of executed notebooks
console       tables in a terminal
diff          the differences between two runs
fleet         the newest run of each cluster of a fleet
index         the list of all runs
known_errors  the meaning of a cloud's error code, and what to do
page          the templates
past          a run read from its folder
report        the report of one run
resources     the resources that a run made, changed and removed
timeline      stages and jobs over time
words         words and marks for outcomes
"""

__all__ = [
    "attempts",
    "console",
    "diff",
    "export",
    "fleet",
    "index",
    "known_errors",
    "past",
    "report",
    "resources",
    "words",
]
