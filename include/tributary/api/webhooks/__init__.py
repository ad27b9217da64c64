"""Webhooks: what providers post, proven, taken once and stored encrypted."""
