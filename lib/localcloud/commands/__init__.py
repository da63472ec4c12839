"""Commands of the API, a module for each subject; importing this registers their functions."""

from . import (  # noqa: F401
    accounts,
    affinity,
    deployments,
    downloads,
    firewalls,
    instances,
    keys,
    machines,
    publicip,
    security,
    securityrules,
    simulator,
    snapshots,
    storage,
    tags,
    templates,
    volumes,
    zones,
)
