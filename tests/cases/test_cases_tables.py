"""What a newcomer met: tables, words, and inputs that a board's loader takes or refuses."""
