"""What people use: clients that measure, and their servers. Each attempt reports its outcome in OONI's words."""
