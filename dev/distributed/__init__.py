"""
An Airflow with CeleryExecutor, two workers and a real broker, and a check that no refund is sent twice.

``make distributed`` runs it. Unlike the other commands it needs a Redis server on the machine.
"""
