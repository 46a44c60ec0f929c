"""Everything that is written about frames themselves: numbers, arrays and pictures."""
