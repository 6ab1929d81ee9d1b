"""Which offer for whom: response models, policies and their evaluation."""
