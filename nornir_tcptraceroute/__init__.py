"""TCP traceroute for Nornir and Ansible: the public names, nothing else."""
