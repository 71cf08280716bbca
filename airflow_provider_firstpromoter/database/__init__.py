"""Any SQL connection of Airflow: its engine, its query, and tables of our own in it."""
