"""Apache Airflow provider for FirstPromoter: refunds in a warehouse take back the commissions paid on them."""

__version__ = "0.1.0"
