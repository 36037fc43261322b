"""Matrices: scenarios × tools × policies × seeds, played side by side here or over a cluster, judged as one."""
