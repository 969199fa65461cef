"""Many runs worked on by one command: on this machine, or on the nodes of a Ray cluster."""
