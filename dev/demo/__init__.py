"""
The demo: a warehouse of refunds, the sandbox in the place of FirstPromoter, and a real Airflow DAG between them.

``make demo`` runs the example DAG three times and checks what it claims; ``make ui`` shows the same DAG in Airflow's
UI. Each keeps all of its files in one folder of the checkout and leaves no process behind.
"""
