"""What pictures and pages draw, computed once. Imports no drawing library and chooses no colour."""
