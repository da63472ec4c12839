"""The local cloud on the wire: HTTP, signatures, sessions, envelopes and pages."""
