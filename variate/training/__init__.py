"""From rows to weights: steps, epochs, several processes, and what is kept if it is killed."""
