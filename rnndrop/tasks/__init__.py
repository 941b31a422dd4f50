"""What is learnt: each task's data, model, step of training and scores."""
