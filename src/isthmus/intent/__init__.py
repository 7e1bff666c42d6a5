# SPDX-License-Identifier: Apache-2.0
"""What tenants ask for: the resources, one file each in `kinds`, and the machinery that reads,
plans, stores, renders and documents all of them alike.

Callers use `planning` (requests to plans), `render` (stored resources to answers), `paths` (URLs to
kinds and keys), `fields.decode` with the structs of the kinds' files (stored resources to typed
values), `openapi` and `docs`. `model` is the contract with the store.
"""
