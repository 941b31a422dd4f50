"""The networks: from tokens to scores."""
