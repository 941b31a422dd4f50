"""Operations that models are made of: products, the loss, memory."""
