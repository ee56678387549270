"""What `cuestream` can do: a module for each group of its commands."""
