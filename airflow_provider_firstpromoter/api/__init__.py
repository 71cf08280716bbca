"""How FirstPromoter is spoken to: the account of a connection, requests, waits, and what responses mean."""
