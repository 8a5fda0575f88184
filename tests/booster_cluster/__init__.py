"""ModelBoosters on a real control plane."""
