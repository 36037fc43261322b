"""YAML to a typed scenario, to a plan and a timeline, and the judgement of results. Pure."""
