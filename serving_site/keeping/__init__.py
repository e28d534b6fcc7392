"""Keeping an installation: backup and restore, what is wrong with it (doctor), and what may go (prune)."""
