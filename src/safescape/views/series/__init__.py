"""What pictures and pages draw, computed once. Knows no drawing library."""
