"""What the API says: Strawberry types, inputs and thin resolvers over the stores."""
