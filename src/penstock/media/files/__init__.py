"""Playlists: files that are played one after another, as one source that never breaks."""
