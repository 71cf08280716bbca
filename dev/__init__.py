"""
What contributors run (the demo, the benchmarks, the distributed set-up) and what these tools share with the tests.

It is not a part of the package. ``airflow``, ``sandbox`` and ``databases`` start the servers, ``processes`` runs and
stops their processes, and ``terminal`` prints.
"""
