"""Adapters between the pure censor or link and the kernel, a capture, or a student's own box. They decide nothing."""
