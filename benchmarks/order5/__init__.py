"""The work that all variants do: five steps, each of which inserts one row and updates the row of the order."""
