"""
What the provider costs, measured side by side with what people would otherwise use: ``make bench``.

It is a benchmark, not a test: a figure that misses its target is printed as missed, and nothing fails.

The parent process only directs and prints. Every measurement runs in a fresh interpreter (:mod:`benchmarks.child`),
so that no row inherits another one's memory, imports or warm connections.
"""
