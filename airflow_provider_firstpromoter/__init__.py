"""Apache Airflow provider for FirstPromoter: refunds reverse the commissions paid on the sales."""

__version__ = "0.1.0"
