"""Forward operators, their random parts and the tasks made of them."""
