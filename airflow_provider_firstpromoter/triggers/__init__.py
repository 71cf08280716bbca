"""The trigger in which the sensor waits without a worker slot."""
