"""From a trained model to text, scores and metrics."""
