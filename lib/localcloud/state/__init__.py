"""What the local cloud holds and knows: rows, jobs, dialects, the registry of its commands."""
