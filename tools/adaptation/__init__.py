"""Training many adapters and measuring them: what `tools/study.py` and `tools/train_zoo.py` share."""
