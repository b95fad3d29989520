"""A thousand jobs of all kinds: what they do, who submits them, and how it is judged what became of them."""
