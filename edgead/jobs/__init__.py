"""What the commands do, free of the terminal: the command line and the demo both call these."""
