"""The operator that sends refunds or sales from a query."""
