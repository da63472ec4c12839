"""The commands of `runbook`, by subject.

What a command needs is imported when it runs: help and bad input shall not wait for papermill.

again    command lines to type next
drift    drift
fleet    fleet report
main     the command itself: its list of commands, its exit codes
options  arguments and options that several commands take
orders   what is to be run
records  verify, list, open, watch, diff, export, report
rehearse rehearse, survey
running  run, plan, apply, resume
work     params, lab, local-cloud
"""

__all__ = [
    "again",
    "drift",
    "fleet",
    "main",
    "options",
    "orders",
    "records",
    "rehearse",
    "running",
    "work",
]
