"""RTMP: AMF0, chunk streams, client and server sides of a connection (Adobe RTMP 1.0, Enhanced RTMP v2)."""
