# SPDX-License-Identifier: Apache-2.0
"""What tenants ask for: one file per MS-NCNBI resource, and what follows from them.

Doors: `planning` (requests to plans), `render` (stored resources to answers), `paths` (URLs to
kinds and keys), `fields.decode` with the structs of the kinds' files (stored resources to typed
values), `openapi` and `docs`. `model` is the contract with the store.
"""
