"""A self-hosted server for live-stream tasks that speaks the Tencent Cloud and Alibaba Cloud APIs."""

__version__ = "0.1.0"
