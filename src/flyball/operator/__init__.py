"""Reconcilers and admission: what objects of our kinds ask for, made true, and what they may ask."""
