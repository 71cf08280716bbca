"""The sensor that waits for refunds that are not settled."""
