# SPDX-License-Identifier: MIT
"""The TUF repository: `paths` (what a target may be called), `signing` (for those who hold keys, no server
needed), `repository` (verify, publish, keep fresh), `dev` (keys and first metadata for --dev), `uploads`."""
