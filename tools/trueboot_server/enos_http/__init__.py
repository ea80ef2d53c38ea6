# SPDX-License-Identifier: MIT
"""The HTTP device protocol of EnOS (enos-decada, 7): login, publish, commands in response headers, download."""
