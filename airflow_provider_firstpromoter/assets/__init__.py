"""What a run shows to others: the asset of an account, its events, and OpenLineage's datasets."""
