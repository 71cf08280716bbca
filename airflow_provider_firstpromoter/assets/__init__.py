"""The asset of a FirstPromoter account's refunds, and how Airflow checks its URI."""
