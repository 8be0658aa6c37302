"""What Nornir users import: tasks, processors and functions."""
