"""Rival control laws, as their authors published them, and third parties': what Flyball is judged by."""
