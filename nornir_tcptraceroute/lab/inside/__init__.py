"""What runs inside a lab. It imports nothing but the standard library, pyroute2 and itself, so that a lab is up fast."""
