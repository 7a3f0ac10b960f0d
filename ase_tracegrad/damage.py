"""What a parser may trip over in a damaged file: to be caught at the door and told as the error of the format."""

# StopIteration: nothing was found; ArithmeticError: a number that no float or index holds; RecursionError: brackets nested deeper
# than a parser can follow.
DAMAGE = (ValueError, LookupError, TypeError, AttributeError, StopIteration, ArithmeticError, RecursionError)
