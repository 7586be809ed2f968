"""From field values along rays to ranges and losses; pure functions of tensors."""
