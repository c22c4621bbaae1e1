"""The model: recurrence, encoder, attention, decoder and loss, on tensors of token ids."""
