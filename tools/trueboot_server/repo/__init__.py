# SPDX-License-Identifier: MIT
"""The TUF repository: `paths` (what a target may be called), `signing` (for those who hold keys, no server
needed), `checking` (may this be published?), `repository` (publish, keep fresh, collect), `published` (what counts
now), `reading` (what lies on disk), `online` (the server's key), `dev` (opening; keys for --dev), `uploads`."""
