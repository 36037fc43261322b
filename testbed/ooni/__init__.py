"""OONI measurements: what they show of a censor, and a draft policy from it. Reads files, measures nothing."""
