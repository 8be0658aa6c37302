"""Checks: expectations of paths in a file, measured from the controller or from hosts of the inventory, and judged."""
