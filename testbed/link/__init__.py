"""The national link: its specification and model (pure), the kernel's way of doing it, and how faithful a run was."""
