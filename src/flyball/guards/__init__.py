"""Guards between what is best and what is done: each may raise a number, all must agree to lower it."""
