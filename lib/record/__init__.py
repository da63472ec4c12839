"""The record of a run, written and read. Of lib it imports only errors and waiting.

asked       lists that a stage leaves to the next of its run
cells       the heading above each cell of a notebook
events      what happens in a run
facts       facts that only the process which talks to the cloud knows
faults      faults of the input and of the disk, raised as exceptions
forms       the ways in which programs write a secret
headings    what people call the fields of CloudStack's answers
journal     each change of a cloud or machine, before it is sent, and its outcome
jsonl       JSON lines, appended by several processes
ledger      when the run, its stages and its cells began and ended
locks       one process at a time changes a cluster
manifest    the checksums that seal a run
masks       masks the secrets of this process before they leave the kernel
plans       what the stages of a run would do, as data
provenance  who ran what, with which code, on which machine
reading     loads the tables of executed notebooks
requests    each request to the cloud
search      where secrets stand in a text
secrets     parameters that look like secrets
shown       tables and drawings as notebooks show them
texts       the texts of reports and of the terminal in the language of the locale
whole       files written as a whole or not at all
"""

__all__ = [
    "asked",
    "cells",
    "events",
    "facts",
    "faults",
    "headings",
    "journal",
    "jsonl",
    "ledger",
    "locks",
    "manifest",
    "masks",
    "plans",
    "provenance",
    "reading",
    "requests",
    "search",
    "secrets",
    "shown",
    "texts",
    "whole",
]
