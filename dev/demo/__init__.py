"""
The demo: a warehouse of refunds, a sandbox in FirstPromoter's place, and a real Airflow DAG between them.

``make demo`` runs the story of ``__main__``; ``make ui`` opens the same in Airflow's own pages. Both work in a
folder of their own, touch nothing outside of it, and leave no process behind.
"""
