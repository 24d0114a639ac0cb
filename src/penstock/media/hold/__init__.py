"""Streams that are watched on edge nodes and thrown away, to keep them warm there."""
