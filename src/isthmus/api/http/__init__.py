# SPDX-License-Identifier: Apache-2.0
"""HTTP without the contract: listening, TLS, who may come in, connections, requests and replies.

It serves any `authentication.Application` and knows neither routes nor resources.
"""
