"""The operator that sends refunds from a query."""
