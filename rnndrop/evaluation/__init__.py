"""How a trained model is measured."""
