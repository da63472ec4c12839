"""What is kept of a run, written and read. It knows nothing else of lib but errors and waiting.

events      what happens in a run
facts       what only the process that talks to the cloud knows
faults      faults in what was given, found before anything starts
forms       the ways in which programs write a secret
journal     each change: written down before it is sent, and what became of it
ledger      what began and ended in a run
lines       lines appended to files by several processes
manifest    the checksums that seal a run
masks       secrets of this process, masked before they leave the kernel
provenance  who ran what, with which code, on which machine
reading     tables of executed notebooks, loaded back
requests    each request to the cloud
search      where secrets stand in a text
secrets     parameters that look like secrets
whole       files of which nobody finds a part
"""

__all__ = [
    "events",
    "facts",
    "faults",
    "journal",
    "ledger",
    "lines",
    "manifest",
    "masks",
    "provenance",
    "reading",
    "requests",
    "search",
    "secrets",
    "whole",
]
