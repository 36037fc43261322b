"""The classroom: eight labs, their countries, and the checkers that mark what a student did."""
