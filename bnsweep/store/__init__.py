"""MLflow in and out: the only room that imports mlflow."""
