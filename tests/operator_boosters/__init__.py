"""What keeps ModelBoosters, over an API server in memory."""
