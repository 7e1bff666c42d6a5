# SPDX-License-Identifier: Apache-2.0
"""Who reaches whom, and why not: one evaluator of policy, for people, for plans, for proofs."""
