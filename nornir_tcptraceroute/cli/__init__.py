"""The commands: tcptraceroute, a drop-in for the classic tool, and nornir-tcptraceroute."""
