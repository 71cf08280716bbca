"""The sensors that wait for events that are not settled."""
