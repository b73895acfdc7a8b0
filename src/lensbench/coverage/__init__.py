"""Conformance: a tiny random model of every type that transformers has, and a verdict on each."""
