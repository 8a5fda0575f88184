"""Rival laws: the same signature as `decide`, each as its authors published it."""
