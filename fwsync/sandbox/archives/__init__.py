"""The way out for many files: what a ticket stands for, and its tar or zip."""
