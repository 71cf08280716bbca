"""
Measures what the provider costs beside what people would otherwise use: ``make bench``.

It is a benchmark and not a test: a figure that misses its target is printed as missed, and nothing fails.

The parent process only directs and prints. Every measurement runs in a fresh interpreter
(:mod:`dev.benchmarks.child`), so that no row inherits another one's memory, imports or open connections.
"""
