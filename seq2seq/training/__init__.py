"""The training loop and what moves the weights; one loop for every task."""
