"""What contributors run: the demo, the benchmarks, the distributed set-up. No part of the package."""
