"""Circumvention tools: recipes that say how to start them, and the runner that does."""
