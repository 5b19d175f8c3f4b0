"""Every speed claim, side by side with its peers in one run."""
