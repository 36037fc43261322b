"""A run's result for people and machines: text, JSON, JUnit, HTML. Reads the run directory and decides nothing."""
