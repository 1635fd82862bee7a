"""The built-in plugins of adair (imported as ``adair_plugins``)."""
