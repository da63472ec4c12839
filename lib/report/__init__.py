"""Records of runs, read back and shown.

cells         what notebooks show
console       tables in a terminal
diff          what differs between two runs
index         the list of all runs
known_errors  what a cloud's error code means, and what to do
page          the templates
past          a run read from its folder
report        the report of one run
resources     what was made, changed and removed
timeline      stages and jobs over time
words         words and marks for outcomes
"""

__all__ = ["console", "diff", "index", "past", "report", "resources", "words"]
