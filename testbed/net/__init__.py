"""Namespaces and the Mininet fabric: executes a plan, decides nothing."""
