"""What if one thing had been otherwise in a run: for each request, and for those that gain and lose."""
