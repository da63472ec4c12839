"""Signed calls to the API of CloudStack, and what it answers.

abilities  what a cloud can do, asked of the cloud itself
answers    an answer within its bounds, and whether it is CloudStack's
client     the client: questions, lists, retries
find       one row by its name, or what there is instead
lists      what was asked within a run, as long as it counts
pace       how many changes are under way at once, and when a throttled cloud may be asked again
paging     all pages of a list
signing    the signature of a request
transport  one request sent, and what its answer or its loss means
"""

__all__ = [
    "abilities",
    "answers",
    "client",
    "find",
    "lists",
    "pace",
    "paging",
    "signing",
    "transport",
]
