"""Untrained and cheap methods that stand beside every result."""
