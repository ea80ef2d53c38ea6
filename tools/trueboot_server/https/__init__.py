# SPDX-License-Identifier: MIT
"""HTTPS: `est` for devices, `repository` for both, the rest for operators; `front` puts them together."""
