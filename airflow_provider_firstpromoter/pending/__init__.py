"""Which refunds of a query need sending."""
