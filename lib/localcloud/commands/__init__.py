"""Commands of the API, a module for each subject.

Importing this registers them all, and then the parameters that many of them share.
"""

from . import (
    absent,
    accounts,
    affinity,
    deployments,
    downloads,
    filters,
    firewalls,
    instances,
    keys,
    machines,
    owners,
    projects,
    publicip,
    security,
    simulator,
    snapshots,
    storage,
    tags,
    templates,
    users,
    volumes,
    zones,
)

SUBJECTS = (
    zones,
    volumes,
    snapshots,
    templates,
    downloads,
    affinity,
    security,
    deployments,
    machines,
    tags,
    keys,
    accounts,
    simulator,
    users,
    instances,
    storage,
    publicip,
    firewalls,
    absent,
    projects,
)

for shared in (owners, filters, projects):
    shared.register()
