"""Apache Airflow provider for FirstPromoter: refunds reverse the commissions paid on the sales."""

from datetime import timedelta

__version__ = "0.1.0"

#: The least time between two tries of an event that no referral matched. Less than a day: a daily task that reaches the
#: row a second earlier than yesterday must not leave it for another day.
RECHECK_EVERY = timedelta(hours=20)
