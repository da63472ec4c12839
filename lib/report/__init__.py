"""Reads the records of runs back, and shows them.

attempts      the attempts at each stage of a run
cells         the cells of executed notebooks
console       tables in a terminal
cover         the first page of a report
diff          the differences between two runs
export        the resources of a run for other programs
fleet         the newest run of each cluster of a fleet
grouping      the first and the last of many rows that are alike
index         the list of all runs
known_errors  the meaning of a cloud's error code, and what to do
page          the templates
paper         the report as a PDF
past          a run read from its folder
report        the report of one run
resources     what a run changed, and every resource it saw, in its last state
timeline      stages and jobs over time
words         words and marks for outcomes
work          what the stages planned, and what was done
"""

__all__ = [
    "attempts",
    "console",
    "diff",
    "export",
    "fleet",
    "grouping",
    "index",
    "known_errors",
    "paper",
    "past",
    "report",
    "resources",
    "words",
]
