"""A CloudStack-compatible cloud on this machine, for rehearsing, teaching and testing."""
