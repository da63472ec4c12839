"""Whether the cloud has what a run needs.

access     who we are, and whether there is what the parameters name
names      whether the names of the cluster are allowed, and free or ours
offerings  what a machine gets of a service offering
seed       a seed of the local cloud from what a real one answers
quota      what the run needs, and what is left of the account's limits
"""

__all__ = ["access", "names", "offerings", "quota", "seed"]
