"""Strings to padded batches: corpus, tokenizer, batching."""
