"""Where recommendations go beside objects and Events: Alertmanager, Slack, a git repository."""
