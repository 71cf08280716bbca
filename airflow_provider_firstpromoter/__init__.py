"""Apache Airflow provider for FirstPromoter: refunds take back the commissions paid on the sales."""

__version__ = "0.1.0"
