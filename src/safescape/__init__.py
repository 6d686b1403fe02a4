"""Measure how near a finetuned language model stands to losing its safety."""
