"""Addresses of data elsewhere → verified files here; nothing that arrives is trusted."""
