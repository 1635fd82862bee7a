"""How the network of `adair diagnose` is trained and measured."""
