"""`TaskActionReconciler`: read reconciler.py first."""
