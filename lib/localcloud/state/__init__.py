"""The state of the local cloud: rows, jobs, dialects, the registry of its commands."""
