"""The common work of all comparisons: five steps, each one row inserted and the order's row updated, durably."""
