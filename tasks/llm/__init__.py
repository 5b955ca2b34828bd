"""Asking a language model about the target corpus: passages, one paced client, every answer kept as it comes."""
